"""paho-mqtt: what it does with the broker."""

import queue
from importlib import metadata

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from cells import FILES, PASSWORD, PATIENCE, PORTS, check, said, table

V31, V311, V5 = mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5
ANSWERS = "demo/alice/answers"


class Client:
    """A connected client whose callbacks are put into queues."""

    def __init__(self, user, version, by="PLAIN", clean=True, will=None, password=PASSWORD, alias=0):
        arguments = {} if version == V5 else {"clean_session": clean}
        if by == "WS":
            arguments["transport"] = "websockets"
        # Who keeps a session comes back under the same name, in a session of its version.
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"{user}-{version}-{clean}", protocol=version, **arguments)
        self.messages, self.acks, self.connects = queue.Queue(), queue.Queue(), queue.Queue()
        self.client.username_pw_set(user, password)
        if will:
            self.client.will_set(*will)
        if by == "TLS":
            self.client.tls_set(f"{FILES}/ca.crt")
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_subscribe = lambda c, u, mid, codes, properties: self.acks.put(codes)
        self.client.on_connect = lambda c, u, flags, code, properties: self.connects.put((flags.session_present, code))
        options = {}
        if version == V5:
            properties = Properties(PacketTypes.CONNECT)
            if not clean:
                properties.SessionExpiryInterval = 3600
            if alias:
                properties.TopicAliasMaximum = alias
            options = {"clean_start": clean, "properties": properties}
        self.client.connect("localhost", PORTS[by], **options)
        self.client.loop_start()
        self.present, self.code = self.connects.get(timeout=PATIENCE)

    def __enter__(self):
        check(not self.code.is_failure, f"connecting: {self.code}")
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, *arguments, **options):
        self.client.subscribe(*arguments, **options)
        return self.acks.get(timeout=PATIENCE)

    def granted(self, *arguments, **options):
        codes = self.subscribe(*arguments, **options)
        check(not codes[0].is_failure, f"subscribing: {codes}")

    def publish(self, *arguments, **options):
        self.client.publish(*arguments, **options).wait_for_publish(PATIENCE)

    def message(self):
        return self.messages.get(timeout=PATIENCE)


def same(seen, expected):
    check(seen == expected, f"{seen!r}, not {expected!r}")


def connect(version):
    with Client("alice", version):
        pass


def wrong_password(version):
    client = Client("alice", version, password="wrong")
    client.client.loop_stop()
    check(client.code.is_failure, "let in")


def exchange(qos, by="PLAIN"):
    def attempt(version):
        with Client("alice", version, by) as alice, Client("inside", version, by) as inside:
            alice.granted(f"{ANSWERS}/+", qos)
            inside.publish(f"{ANSWERS}/1", f"qos {qos}", qos)
            message = alice.message()
            same((message.payload.decode(), message.qos), (f"qos {qos}", qos))

    return attempt


def retained(version):
    with Client("inside", version) as inside:
        inside.publish(f"{ANSWERS}/kept", "kept", 1, retain=True)
        with Client("alice", version) as alice:
            alice.granted(f"{ANSWERS}/kept", 1)
            message = alice.message()
            same((message.payload, message.retain), (b"kept", True))
        inside.publish(f"{ANSWERS}/kept", "", 1, retain=True)


def will(version):
    with Client("inside", version) as inside:
        inside.granted("demo/+/requests/will", 1)
        dying = Client("alice", version, will=("demo/alice/requests/will", "gone", 1, False))
        dying.client.socket().close()
        dying.client.loop_stop()
        same(inside.message().payload, b"gone")


def persistent(version):
    with Client("alice", version, clean=False) as alice:
        check(not alice.present, "a session before there was one")
        alice.granted(f"{ANSWERS}/+", 1)
    with Client("inside", version) as inside:
        inside.publish(f"{ANSWERS}/1", "while away", 1)
    with Client("alice", version, clean=False) as alice:
        # 3.1 has no such flag.
        same(alice.present, version != V31)
        same(alice.message().payload, b"while away")


def shared(version):
    with Client("inside", version) as inside, Client("alice", version) as alice:
        inside.granted("$share/workers/demo/alice/requests/+", 1)
        other = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "second", protocol=version)
        other.on_message = lambda c, u, message: inside.messages.put(message)
        other.on_subscribe = lambda c, u, mid, codes, properties: inside.acks.put(codes)
        other.on_connect = lambda c, u, flags, code, properties: c.subscribe("$share/workers/demo/alice/requests/+", 1)
        other.username_pw_set("inside", PASSWORD)
        other.connect("localhost", PORTS["PLAIN"])
        other.loop_start()
        check(not inside.acks.get(timeout=PATIENCE)[0].is_failure, "subscribing")
        for number in range(10):
            alice.publish("demo/alice/requests/1", str(number), 1)
        same(sorted(int(inside.message().payload) for _ in range(10)), list(range(10)))
        other.disconnect()
        other.loop_stop()
        check(inside.messages.empty(), "one of them twice")


def guarded(version):
    with Client("alice", version) as alice:
        codes = alice.subscribe("#")
        check(codes[0].is_failure, f"{codes}")


def property_of(set_property, get):
    def attempt(version):
        with Client("alice", version) as alice, Client("inside", version) as inside:
            alice.granted(f"{ANSWERS}/+", 1)
            properties = Properties(PacketTypes.PUBLISH)
            set_property(properties)
            inside.publish(f"{ANSWERS}/1", "x", 1, properties=properties)
            check(get(alice.message().properties), "not as it was sent")

    return attempt


def user_properties(properties):
    properties.UserProperty = [("a", "1"), ("a", "2")]


def expiry(properties):
    properties.MessageExpiryInterval = 100


def respond(version):
    with Client("alice", version) as alice, Client("inside", version) as inside:
        inside.granted("demo/+/requests/+", 1)
        alice.granted(f"{ANSWERS}/+", 1)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = f"{ANSWERS}/mine"
        properties.CorrelationData = b"\x00\xff"
        alice.publish("demo/alice/requests/1", "ask", 1, properties=properties)
        asked = inside.message().properties
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = asked.CorrelationData
        inside.publish(asked.ResponseTopic, "answer", 1, properties=properties)
        answer = alice.message()
        same((answer.topic, answer.properties.CorrelationData), (f"{ANSWERS}/mine", b"\x00\xff"))


def identifiers(version):
    with Client("alice", version) as alice, Client("inside", version) as inside:
        for number, last in ((7, "+"), (8, "1")):
            properties = Properties(PacketTypes.SUBSCRIBE)
            properties.SubscriptionIdentifier = number
            alice.granted(f"{ANSWERS}/{last}", options=SubscribeOptions(qos=1), properties=properties)
        inside.publish(f"{ANSWERS}/1", "x", 1)
        # The broker is configured, as mosquitto is, to send a copy for each subscription.
        copies = [alice.message().properties.SubscriptionIdentifier for _ in range(2)]
        same(sorted(copies), [[7], [8]])


def aliases_out(version):
    with Client("alice", version) as alice, Client("inside", version) as inside:
        alice.granted(f"{ANSWERS}/+", 1)
        for number, topic in enumerate((f"{ANSWERS}/1", "", "")):
            properties = Properties(PacketTypes.PUBLISH)
            properties.TopicAlias = 1
            inside.publish(topic, str(number), 1, properties=properties)
            message = alice.message()
            same((message.topic, message.payload.decode()), (f"{ANSWERS}/1", str(number)))


def aliases_in(version):
    with Client("alice", version, alias=5) as alice, Client("inside", version) as inside:
        alice.granted(f"{ANSWERS}/+", 1)
        for number in range(10):
            inside.publish(f"{ANSWERS}/1", str(number), 1)
        messages = [alice.message() for _ in range(10)]
        same([message.payload.decode() for message in messages], [str(number) for number in range(10)])
        # The library hands the properties on and leaves the names to the program.
        names = {}
        for message in messages:
            alias = getattr(message.properties, "TopicAlias", None)
            if message.topic and alias:
                names[alias] = message.topic
            same(message.topic or names[alias], f"{ANSWERS}/1")
        check(names, "no alias was used")


V5_ONLY = (V5,)
said("version", metadata.version("paho-mqtt"))
table(
    {
        "connect 3.1": (connect, (V31,)),
        "connect 3.1.1": (connect, (V311,)),
        "connect 5.0": (connect, V5_ONLY),
        "wrong password is refused": wrong_password,
        "QoS 0": exchange(0),
        "QoS 1": exchange(1),
        "QoS 2": exchange(2),
        "retained": retained,
        "will": will,
        "persistent session": persistent,
        "shared subscription": (shared, (V311, V5)),
        "# is refused": (guarded, (V311, V5)),
        "TLS": exchange(1, "TLS"),
        "WebSocket": exchange(1, "WS"),
        "user properties": (property_of(user_properties, lambda p: p.UserProperty == [("a", "1"), ("a", "2")]), V5_ONLY),
        "message expiry": (property_of(expiry, lambda p: 90 < p.MessageExpiryInterval <= 100), V5_ONLY),
        "request and response": (respond, V5_ONLY),
        "subscription identifiers": (identifiers, V5_ONLY),
        "topic aliases to the broker": (aliases_out, V5_ONLY),
        "topic aliases from the broker": (aliases_in, V5_ONLY),
    },
    (V31, V311, V5),
)
