// Graphile Worker with the settings that its page on performance names as its fastest.
// work.mjs enqueue|drain CONNECTION TASKS [result]
import { EventEmitter, once } from "node:events";

import { Logger, makeWorkerUtils, run } from "graphile-worker";
import pg from "pg";

const [verb, connectionString, count, keeping] = process.argv.slice(2);
const tasks = Number(count);
const pool = new pg.Pool({ connectionString });
const logger = new Logger(() => () => {}); // Each job would be a line.

if (verb === "enqueue") {
  await pool.query("create table if not exists graphile_results (job bigint primary key, content text not null)");
  const utils = await makeWorkerUtils({ connectionString, logger });
  await utils.migrate();
  for (let done = 0; done < tasks; done += 1000) {
    const jobs = Array.from({ length: Math.min(1000, tasks - done) }, (_, at) => ({
      identifier: "nothing",
      payload: { number: String(done + at) },
    }));
    await utils.addJobs(jobs);
  }
  await utils.release();
} else {
  const events = new EventEmitter();
  const content = JSON.stringify({ buckets: [["done", null, 5]], exceptions: [] });
  let began, cpu;
  let over = 0;
  events.on("job:complete", () => {
    over += 1;
    if (over === tasks) events.emit("all");
  });
  const all = once(events, "all");
  const runner = await run({
    preset: {
      worker: {
        connectionString,
        events,
        logger,
        concurrentJobs: 24,
        maxPoolSize: 25,
        localQueue: { size: 500 },
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
      },
    },
    parsedCronItems: [],
    noHandleSignals: true,
    taskList: {
      nothing: async (payload, helpers) => {
        began ??= performance.now();
        cpu ??= process.cpuUsage();
        if (keeping) {
          await helpers.query("insert into graphile_results (job, content) values ($1, $2)", [helpers.job.id, content]);
        }
      },
    },
  });
  await all;
  let left;
  do {
    ({ rows: [{ left }] } = await pool.query("select count(*)::int as left from graphile_worker._private_jobs"));
  } while (left);
  const seconds = (performance.now() - began) / 1000;
  const used = process.cpuUsage(cpu);
  console.log(JSON.stringify({ tasks, seconds, cpu: (used.user + used.system) / 1e6 }));
  await runner.stop();
}
await pool.end();
