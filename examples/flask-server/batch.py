"""
Batches: operations apply in their order, and each numbered mutation of a client applies once.

Spec: docs/contract.md, 5.
"""

import re
from collections import namedtuple

from flask import g

from json_text import elements, members, string, to_json
from messages import MAX_ANSWER_BYTES, MAX_VALUE_BYTES, invalid_key, is_portable, problem_type, refuse
from records import VOID

MAX_OPERATIONS = 2000
REQUIRED_SCOPES = {
    "get": "read",
    "head": "read",
    "put": "write",
    "delete": "write",
    "check": "write",
    "clear": "admin",
}
WRITES = ("put", "delete", "check", "clear")
LARGEST_NUMBER = 2**53 - 1  # the largest integer that every JSON reader represents exactly
NO_CONDITION = object()

Batch = namedtuple("Batch", "epoch account client m void settled atomic operations")
Answer = namedtuple("Answer", "results top void", defaults=(None, False))
Operation = namedtuple("Operation", "op key value condition")

MISSING = {"status": 404, "error": "Key not found"}
NOT_APPLIED = {"status": 424, "error": "Another operation of this atomic batch failed"}
ANSWER_TOO_LARGE = {
    "status": 413,
    "error": f"The values of this answer are over the limit of {MAX_ANSWER_BYTES} bytes: request this key again",
    "type": problem_type("answer-too-large"),
}
VALUE_TOO_LARGE = {
    "status": 413,
    "error": f"The value is over the limit of {MAX_VALUE_BYTES} bytes",
    "type": problem_type("value-too-large"),
}


# Parsing


def read_batch(text):
    body = members(text)
    if body is None:
        refuse(400, "A batch must be an object")
    m, void, settled = (read_whole(body, name, least) for name, least in (("m", 1), ("void", 1), ("settled", 0)))
    if void is not None and ("m" in body or "ops" in body):
        refuse(400, "A batch with void has neither m nor ops")
    if settled is not None and any(number is not None and settled >= number for number in (m, void)):
        refuse(400, "settled must be less than the number of the mutation")
    operations = [] if void is not None else read_operations(body)
    atomic = body.get("atomic", "false")
    if atomic not in ("true", "false"):
        refuse(400, "atomic must be true or false")
    epoch, account, client = (
        read_string(body, name) if name in body else None for name in ("epoch", "account", "client")
    )
    if client is not None and not re.fullmatch(r"[A-Za-z0-9_-]{16,64}", client):
        refuse(400, "client must be 16 to 64 characters of A-Z a-z 0-9 _ -")
    if client is None and any(number is not None for number in (m, void, settled)):
        refuse(400, "A batch with m, void or settled must name its client")
    return Batch(epoch, account, client, m, void, settled, atomic == "true", operations)


def read_whole(found, name, least):
    """The whole number with this name, or None."""
    if name not in found:
        return None
    text = found[name]
    number = int(text) if re.fullmatch("[0-9]{1,16}", text) else -1
    if not least <= number <= LARGEST_NUMBER:
        refuse(400, f"{name} must be a whole number from {least} to {LARGEST_NUMBER}")
    return number


def read_operations(body):
    operations = elements(body.get("ops", "null"))
    if operations is None:
        refuse(400, "ops must be an array")
    if len(operations) > MAX_OPERATIONS:
        refuse(400, f"A batch may have {MAX_OPERATIONS} operations at most")
    return [read_operation(members(text)) for text in operations]


def read_string(found, name):
    text = string(found.get(name, ""))
    if text is None:
        refuse(400, f"{name} must be a string")
    return text


def read_operation(found):
    op = string((found or {}).get("op", ""))
    if op not in REQUIRED_SCOPES:
        refuse(400, f"op must be one of {', '.join(REQUIRED_SCOPES)}")
    key = None if op == "clear" else read_string(found, "key")
    if op == "put" and "value" not in found:
        refuse(400, "A put needs a value")
    if op == "check" and "ifRev" not in found:
        refuse(400, "A check needs ifRev")
    if op not in WRITES:
        return Operation(op, key, None, NO_CONDITION)
    return Operation(op, key, found.get("value"), read_condition(op, found))


def read_condition(op, found):
    name = "ifSeq" if op == "clear" else "ifRev"
    if name not in found:
        return NO_CONDITION
    if name == "ifRev" and found[name] == "null":
        return None
    return read_string(found, name)


def writes_of(batch):
    return [operation for operation in batch.operations if operation.op in WRITES]


def needs_writing(batch):
    """Whether the batch must run in a transaction that writes."""
    return any(number is not None for number in (batch.m, batch.void, batch.settled)) or bool(writes_of(batch))


def stores_values(batch):
    return any(operation.op == "put" for operation in batch.operations)


# Execution


def run_batch(records, batch):
    """Runs a batch. The results of the answer are in the order of the operations."""
    if batch.epoch not in (None, records.epoch):
        refuse(409, "The data is of another epoch: list everything again", "epoch-changed")
    if batch.client is None:
        return Answer(run_operations(records, batch))
    settled, top = records.client(batch.client)
    number = batch.m or batch.void
    if number is None:
        if batch.settled is not None:
            records.use_client(batch.client, batch.settled, top)
        return Answer(run_operations(records, batch), top)
    if number <= settled:
        refuse_mutation("settled", "The client has settled this mutation: its results are no longer stored", top)
    stored = records.mutation(batch.client, number)
    if batch.void is not None:
        answer = give_up(records, batch, stored, top)
    else:
        answer = Answer(run_mutation(records, batch, stored, top), top)
    records.use_client(batch.client, batch.settled or 0, number)
    return answer


def run_mutation(records, batch, stored, top):
    """Applies a mutation. If it was applied before, its writes have the stored results and its reads new ones."""
    if stored is VOID:
        refuse_mutation("void", "The client has given up this mutation", top)
    if stored is None:
        results = run_operations(records, batch)
        kept = [without_value(result) for operation, result in zip(batch.operations, results) if operation.op in WRITES]
        records.save_mutation(batch.client, batch.m, kept)
        return results
    if len(stored) != len(writes_of(batch)):
        refuse_mutation("mutation-changed", "The mutation with this number had another number of writes", top)
    room, left = Room(), iter(stored)
    return [next(left) if operation.op in WRITES else run(records, operation, room) for operation in batch.operations]


def give_up(records, batch, stored, top):
    """The stored results of a mutation that was applied. Any other never will be."""
    if stored is not None and stored is not VOID:
        return Answer(stored, top)
    records.save_mutation(batch.client, batch.void, VOID)
    return Answer([], top, True)


def refuse_mutation(name, error, top):
    g.error_members = {"top": top}
    refuse(409, error, name)


def run_operations(records, batch):
    return (run_all_or_none if batch.atomic else run_each)(records, batch)


def run_each(records, batch):
    room = Room()
    return [run(records, operation, room) for operation in batch.operations]


def run_all_or_none(records, batch):
    """After the first write that fails, no further operation is tried and all earlier ones are undone."""
    room, failed, results = Room(), False, []
    undo = records.savepoint()
    for operation in batch.operations:
        result = NOT_APPLIED if failed else run(records, operation, room)
        results.append(result)
        failed = failed or fails(operation, result)
    if not failed:
        return results
    undo()
    return [undone(records, operation, result) for operation, result in zip(batch.operations, results)]


def fails(operation, result):
    return operation.op in WRITES and result["status"] not in (200, 404)


def undone(records, operation, result):
    """The result of an operation after its batch was undone. It describes the stored state."""
    if not fails(operation, result):
        return NOT_APPLIED
    return conflict(records, operation, Room()) if result["status"] == 412 else result


def run(records, operation, room):
    op, key, value, condition = operation
    if op == "clear":
        unmet = condition not in (NO_CONDITION, str(records.seq))
        return conflict(records, operation, room) if unmet else done(records.clear())
    if op == "put" and not is_portable(key):
        return {"status": 400, "error": invalid_key(key), "type": problem_type("invalid-key")}
    if op == "put" and len(value.encode()) > MAX_VALUE_BYTES:
        return VALUE_TOO_LARGE

    if op == "get":
        return read(records, key, room)
    rev = records.rev(key)
    if rev is None and op not in ("put", "check"):
        return MISSING
    if op == "head":
        return {**done(rev), "size": records.size(key)}
    if condition not in (NO_CONDITION, rev and str(rev)):
        return conflict(records, operation, room)
    if op == "check":
        return {"status": 200} if rev is None else done(rev)
    return done(records.put(key, value) if op == "put" else records.delete(key))


def read(records, key, room):
    if room.full:  # a value that is not returned is not read: it may be large
        return MISSING if records.rev(key) is None else ANSWER_TOO_LARGE
    record = records.find(key)
    if record is None:
        return MISSING
    return {**done(record.rev), "value": record.value} if room.fits(record.value) else ANSWER_TOO_LARGE


def done(rev):
    return {"status": 200, "rev": str(rev)}


def conflict(records, operation, room):
    """The result of a failed condition: it has the current state."""
    result = {"status": 412, "error": "Precondition failed"}
    if operation.op == "clear":
        return {**result, "rev": str(records.seq)}
    rev = records.rev(operation.key)
    if rev is None:
        return result
    result["rev"] = str(rev)
    value = None if room.full else records.find(operation.key).value
    if value is not None and room.fits(value):
        result["value"] = value
    return result


class Room:
    """The room for values in one answer. The first value always fits. After one that does not, none does."""

    def __init__(self):
        self.used_bytes = 0
        self.full = False

    def fits(self, value):
        first = self.used_bytes == 0
        self.used_bytes += len(value.encode())
        self.full = self.full or (not first and self.used_bytes > MAX_ANSWER_BYTES)
        return not self.full


def without_value(result):
    return {name: member for name, member in result.items() if name != "value"}


def result_text(result):
    text = to_json(without_value(result))
    return f'{text[:-1]},"value":{result["value"]}}}' if "value" in result else text
