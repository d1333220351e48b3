"""The verbs and laws of the house, one file per noun: no SQL, no protobuf, no HTTP."""
