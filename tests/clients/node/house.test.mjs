// What a team that writes TypeScript or JavaScript does with `gen/typescript`, against a real house: gRPC with a client
// certificate, and gRPC-Web as browsers speak it, with a token. `make node` starts the house and names it in the
// environment.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport, createGrpcWebTransport as createNodeWebTransport } from "@connectrpc/connect-node";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { BadRequestSchema, ErrorInfoSchema } from "taskhouse/google/rpc/error_details_pb.js";
import { ResultService } from "taskhouse/v1/results_pb.js";
import { TaskService, TaskState } from "taskhouse/v1/tasks_pb.js";

/** @import { Interceptor, Transport } from "@connectrpc/connect" */

const http = named("HOUSE_HTTP");
const https = named("HOUSE_HTTPS");
const ca = readFileSync(named("HOUSE_CA"));
const token = named("HOUSE_TOKEN");
const asked = {
  service: "cloak",
  action: "histogram",
  parameters: { dataset: "heights", column: "height", bin_width: "10" },
};

/** @type {Interceptor} */
const bearer = (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};

const transports = {
  "gRPC with a client certificate": {
    tasks: withKey("HOUSE_TASK_RUNNER"),
    results: withKey("HOUSE_WEB_API"),
  },
  "gRPC-Web over TLS with a token": both(
    createNodeWebTransport({
      baseUrl: https,
      httpVersion: "1.1",
      nodeOptions: { ca },
      interceptors: [bearer],
    }),
  ),
  "gRPC-Web by fetch, as browsers do, with a token": both(
    createGrpcWebTransport({ baseUrl: http, interceptors: [bearer] }),
  ),
};

for (const [name, transport] of Object.entries(transports)) {
  const tasks = createClient(TaskService, transport.tasks);
  const results = createClient(ResultService, transport.results);

  describe(name, () => {
    test("a task is created, watched to its end, and its results are listed", async () => {
      const created = await tasks.createTask({ task: asked });
      assert.match(created.id, /^[0-9a-f]{8}-[0-9a-f]{4}-7/);
      assert.equal(created.state, TaskState.PENDING);
      assert.deepEqual(created.parameters, asked.parameters);

      const states = [];
      for await (const seen of tasks.watchTask({ taskId: created.id })) states.push(seen.state);
      assert.equal(states.at(-1), TaskState.SUCCEEDED);
      assert.deepEqual(states, [...states].sort(), "states only go forward");

      const page = await results.listResults({ taskId: created.id });
      assert.equal(page.totalSize, 1);
      const { content } = page.results[0];
      assert.equal(content.case, "histogram");
      assert.deepEqual(content.value.buckets.map((bucket) => [bucket.label, bucket.value]), [["height", "160"]]);
      assert.ok(Math.abs(content.value.buckets[0].count - 500) <= 50, "the 500 users, give or take the noise");
    });

    test("bad fields are refused with their names", async () => {
      const refused = await refusal(tasks.createTask({ task: { ...asked, service: "No Slug", action: "" } }));
      assert.equal(refused.code, Code.InvalidArgument);
      assert.deepEqual(refused.findDetails(ErrorInfoSchema).map((info) => [info.reason, info.domain]), [
        ["INVALID_FIELD", "taskhouse"],
      ]);
      const [bad] = refused.findDetails(BadRequestSchema);
      assert.deepEqual(bad.fieldViolations.map((one) => one.field), ["task.service", "task.action"]);
    });

    test("an unknown task is refused with a reason", async () => {
      const refused = await refusal(tasks.getTask({ taskId: "00000000-0000-7000-8000-000000000000" }));
      assert.equal(refused.code, Code.NotFound);
      assert.deepEqual(refused.findDetails(ErrorInfoSchema).map((info) => info.reason), ["TASK_NOT_FOUND"]);
    });
  });
}

test("without a credential nothing is told", async () => {
  for (const transport of [
    createGrpcTransport({ baseUrl: https, nodeOptions: { ca } }),
    createNodeWebTransport({ baseUrl: https, httpVersion: "2", nodeOptions: { ca } }),
    createGrpcWebTransport({ baseUrl: http }),
  ]) {
    const refused = await refusal(createClient(TaskService, transport).listTasks({}));
    assert.equal(refused.code, Code.Unauthenticated);
    assert.deepEqual(refused.findDetails(ErrorInfoSchema).map((info) => info.reason), ["NOT_AUTHENTICATED"]);
  }
});

/** @param {string} name */
function named(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run \`make node\``);
  return value;
}

/** @param {string} name - of the variable that names a file of `taskhouse keys issue --out FILE.pem`: both parts in one. */
function withKey(name) {
  const pem = readFileSync(named(name));
  return createGrpcTransport({ baseUrl: https, nodeOptions: { ca, key: pem, cert: pem } });
}

/** @param {Transport} transport */
function both(transport) {
  return { tasks: transport, results: transport };
}

/**
 * @param {Promise<unknown>} call
 * @returns {Promise<ConnectError>}
 */
async function refusal(call) {
  const outcome = await call.then(() => undefined, (error) => error);
  assert.ok(outcome instanceof ConnectError, `not refused, but ${outcome}`);
  return outcome;
}
