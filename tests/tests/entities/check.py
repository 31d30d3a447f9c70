"""Reads entities in both forms, checks that they are the same, and writes both again.

Arguments: a FileDescriptorSet, and a file of lines ["kind", "binary as hex", "JSON"]. Prints a line ["binary as hex", "JSON"] for each.
"""

import json
import sys

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

descriptors = descriptor_pb2.FileDescriptorSet()
with open(sys.argv[1], "rb") as schema:
    descriptors.ParseFromString(schema.read())
pool = descriptor_pool.DescriptorPool()
for file in descriptors.file:
    pool.Add(file)

with open(sys.argv[2], encoding="utf-8") as lines:
    for line in lines:
        kind, binary, text = json.loads(line)
        entity = message_factory.GetMessageClass(pool.FindMessageTypeByName("ntproto.v2." + kind))
        of_binary = entity.FromString(bytes.fromhex(binary))
        of_json = json_format.Parse(text, entity())
        if of_binary != of_json:
            sys.exit(f"the two forms differ: {line}\n{of_binary}\n{of_json}")
        written = json_format.MessageToJson(of_json, preserving_proto_field_name=True)
        print(json.dumps([of_json.SerializeToString().hex(), written]))
