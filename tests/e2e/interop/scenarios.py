"""What every driver in Python tries. A driver brings its library in this shape:

`connect(user, version, by=, name=, clean=, will=, password=, aliases=)` gives a connected client or
raises `Refused`; `aliases` is the Topic Alias Maximum. The client has `present` (None if the library
does not tell) and the coroutines `subscribe(filter, qos, identifier=)`, true if it was granted,
`publish(topic, payload, qos, retain, **properties)`, done when it is acknowledged, `message()`,
`leave()` and `vanish()`, which is an end without DISCONNECT.
"""

import asyncio
import os
from dataclasses import dataclass, field
from importlib import metadata

FILES = os.environ["FILES"]
PASSWORD = os.environ["PASSWORD"]
PORTS = {name: int(os.environ[f"{name}_PORT"]) for name in ("PLAIN", "TLS", "WS")}
PATIENCE = 10
ANSWERS = "demo/alice/answers"
REQUESTS = "demo/alice/requests"


class Refused(Exception):
    """The broker let nobody in."""


@dataclass
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    # user (a list of pairs), expiry, response, correlation, identifiers (a list)
    properties: dict = field(default_factory=dict)


def same(seen, expected):
    if seen != expected:
        raise AssertionError(f"{seen!r}, not {expected!r}")


class Scenarios:
    """Each is given the version of MQTT to speak."""

    def __init__(self, connect):
        self.connect = connect

    async def pair(self, version, **more):
        return await self.connect("alice", version, **more), await self.connect("inside", version, **more)

    async def plain(self, version):
        await (await self.connect("alice", version)).leave()

    async def wrong_password(self, version):
        try:
            await self.connect("alice", version, password="wrong battery")
        except Refused:
            return
        raise AssertionError("let in")

    def exchange(self, qos, by="PLAIN"):
        async def attempt(version):
            alice, inside = await self.pair(version, by=by)
            same(await alice.subscribe(f"{ANSWERS}/+", qos), True)
            await inside.publish(f"{ANSWERS}/1", f"qos {qos}", qos)
            message = await alice.message()
            same((message.payload.decode(), message.qos), (f"qos {qos}", qos))
            await alice.leave()
            await inside.leave()

        return attempt

    async def retained(self, version):
        inside = await self.connect("inside", version)
        await inside.publish(f"{ANSWERS}/kept", "kept", 1, True)
        alice = await self.connect("alice", version)
        await alice.subscribe(f"{ANSWERS}/kept", 1)
        message = await alice.message()
        same((message.payload, message.retain), (b"kept", True))
        await inside.publish(f"{ANSWERS}/kept", "", 1, True)
        await alice.leave()
        await inside.leave()

    async def will(self, version):
        inside = await self.connect("inside", version)
        await inside.subscribe("demo/+/requests/will", 1)
        dying = await self.connect("alice", version, will=(f"{REQUESTS}/will", "gone"))
        await dying.vanish()
        same((await inside.message()).payload, b"gone")
        await inside.leave()

    async def persistent(self, version):
        name = f"kept-{version}"
        alice = await self.connect("alice", version, name=name, clean=False)
        same(bool(alice.present), False)
        await alice.subscribe(f"{ANSWERS}/+", 1)
        await alice.leave()
        inside = await self.connect("inside", version)
        await inside.publish(f"{ANSWERS}/1", "while away", 1)
        alice = await self.connect("alice", version, name=name, clean=False)
        # 3.1 has no such flag.
        same(alice.present in (None, version != "3.1"), True)
        same((await alice.message()).payload, b"while away")
        await alice.leave()
        await inside.leave()

    async def shared(self, version):
        heard = asyncio.Queue()

        async def work(member, client):
            while True:
                await heard.put((int((await client.message()).payload), member))

        alice, *members = [await self.connect("alice", version)] + [
            await self.connect("inside", version, name=f"member-{number}") for number in range(2)
        ]
        working = []
        for number, member in enumerate(members):
            same(await member.subscribe(f"$share/workers/{REQUESTS}/+", 1), True)
            working.append(asyncio.create_task(work(number, member)))
        for number in range(10):
            await alice.publish(f"{REQUESTS}/1", str(number), 1)
        seen = [await heard.get() for _ in range(10)]
        for task in working:
            task.cancel()
        same((sorted(number for number, _ in seen), {member for _, member in seen}), (list(range(10)), {0, 1}))
        for client in (alice, *members):
            await client.leave()

    async def guarded(self, version):
        alice = await self.connect("alice", version)
        same(await alice.subscribe("#", 0), False)
        await alice.leave()

    def arrives(self, **properties):
        async def attempt(version):
            alice, inside = await self.pair(version)
            await alice.subscribe(f"{ANSWERS}/+", 1)
            await inside.publish(f"{ANSWERS}/1", "x", 1, **properties)
            received = (await alice.message()).properties
            for name, value in properties.items():
                if name == "expiry":
                    same(0 < received[name] <= value, True)
                else:
                    same(received[name], value)
            await alice.leave()
            await inside.leave()

        return attempt

    async def respond(self, version):
        alice, inside = await self.pair(version)
        await inside.subscribe("demo/+/requests/+", 1)
        await alice.subscribe(f"{ANSWERS}/+", 1)
        await alice.publish(f"{REQUESTS}/1", "ask", 1, response=f"{ANSWERS}/mine", correlation=b"\x00\xff")
        asked = (await inside.message()).properties
        await inside.publish(asked["response"], "answer", 1, correlation=asked["correlation"])
        answer = await alice.message()
        same((answer.topic, answer.properties["correlation"]), (f"{ANSWERS}/mine", b"\x00\xff"))
        await alice.leave()
        await inside.leave()

    async def identifiers(self, version):
        alice, inside = await self.pair(version)
        for number, last in ((7, "+"), (8, "1")):
            await alice.subscribe(f"{ANSWERS}/{last}", 1, identifier=number)
        await inside.publish(f"{ANSWERS}/1", "x", 1)
        # The broker is configured, as mosquitto is, to send a copy for each subscription.
        copies = [(await alice.message()).properties["identifiers"] for _ in range(2)]
        same(sorted(copies), [[7], [8]])
        await alice.leave()
        await inside.leave()

    async def aliases_out(self, version):
        alice, inside = await self.pair(version)
        await alice.subscribe(f"{ANSWERS}/+", 1)
        for number, topic in enumerate((f"{ANSWERS}/1", "", "")):
            await inside.publish(topic, str(number), 1, alias=1)
            message = await alice.message()
            same((message.topic, message.payload.decode()), (f"{ANSWERS}/1", str(number)))
        await alice.leave()
        await inside.leave()

    async def aliases_in(self, version):
        inside, alice = await self.connect("inside", version), await self.connect("alice", version, aliases=5)
        await alice.subscribe(f"{ANSWERS}/+", 1)
        aliases = set()
        for number in range(10):
            await inside.publish(f"{ANSWERS}/1", str(number), 1)
            message = await alice.message()
            same((message.topic, message.payload.decode()), (f"{ANSWERS}/1", str(number)))
            aliases.add(message.properties.get("alias"))
        same(aliases - {None}, {1})
        await alice.leave()
        await inside.leave()


def said(feature, cell):
    print(f"{feature}: {cell}", flush=True)


async def attempted(feature, attempt, versions, yes):
    for version in versions:
        try:
            await asyncio.wait_for(attempt(version), PATIENCE)
        except Exception as error:  # whatever it is, it belongs into the table
            text = " ".join(f"{type(error).__name__}: {error}".split())
            return said(feature, f"no ({text}, in {version})")
    return said(feature, yes)


async def run(package, connect, versions, cannot, remarks):
    """Tries everything in the versions the library speaks, but for what it `cannot`."""
    said("version", metadata.version(package))
    of = Scenarios(connect)
    features = {
        "connect 3.1": (of.plain, ["3.1"]),
        "connect 3.1.1": (of.plain, ["3.1.1"]),
        "connect 5.0": (of.plain, ["5.0"]),
        "wrong password is refused": (of.wrong_password, versions),
        "QoS 0": (of.exchange(0), versions),
        "QoS 1": (of.exchange(1), versions),
        "QoS 2": (of.exchange(2), versions),
        "retained": (of.retained, versions),
        "will": (of.will, versions),
        "persistent session": (of.persistent, versions),
        "shared subscription": (of.shared, [version for version in versions if version != "3.1"]),
        # 3.1 has no code for a refusal.
        "# is refused": (of.guarded, [version for version in versions if version != "3.1"]),
        "TLS": (of.exchange(1, "TLS"), versions),
        "WebSocket": (of.exchange(1, "WS"), versions),
        "user properties": (of.arrives(user=[("a", "1"), ("a", "2")]), ["5.0"]),
        "message expiry": (of.arrives(expiry=100), ["5.0"]),
        "request and response": (of.respond, ["5.0"]),
        "subscription identifiers": (of.identifiers, ["5.0"]),
        "topic aliases to the broker": (of.aliases_out, ["5.0"]),
        "topic aliases from the broker": (of.aliases_in, ["5.0"]),
    }
    for feature, (attempt, tried) in features.items():
        if feature in cannot:
            said(feature, f"cannot ({cannot[feature]})")
        else:
            remark = remarks.get(feature)
            await attempted(feature, attempt, tried, f"yes ({remark})" if remark else "yes")
