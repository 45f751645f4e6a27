"""paho-mqtt against the broker: everything an ordinary client does, in 3.1.1 and 5.0."""

import os
import queue
import ssl

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

FILES = os.environ["FILES"]
PASSWORD = os.environ["PASSWORD"]
PATIENCE = 20


class Client:
    """A client whose callbacks are put into queues."""

    def __init__(self, name, user, version=mqtt.MQTTv311, tls=True, certificate=False, clean=True, will=None):
        arguments = {} if version == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, name, protocol=version, **arguments)
        self.version = version
        self.messages, self.acks, self.connects = queue.Queue(), queue.Queue(), queue.Queue()
        self.client.username_pw_set(user, PASSWORD)
        if will:
            self.client.will_set(*will)
        if tls:
            files = (f"{FILES}/alice.crt", f"{FILES}/alice.key") if certificate else (None, None)
            self.client.tls_set(f"{FILES}/ca.crt", *files, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_subscribe = lambda c, u, mid, codes, properties: self.acks.put([code.value for code in codes])
        self.client.on_connect = lambda c, u, flags, code, properties: self.connects.put((flags.session_present, code))
        port = int(os.environ["TLS_PORT" if tls else "PLAIN_PORT"])
        options = {}
        if version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            if not clean:
                properties.SessionExpiryInterval = 3600
            options = {"clean_start": clean, "properties": properties}
        self.client.connect("localhost", port, **options)
        self.client.loop_start()
        self.present, self.code = self.connects.get(timeout=PATIENCE)

    def subscribe(self, *arguments, **options):
        self.client.subscribe(*arguments, **options)
        return self.acks.get(timeout=PATIENCE)

    def publish(self, *arguments, **options):
        self.client.publish(*arguments, **options).wait_for_publish(PATIENCE)

    def message(self):
        return self.messages.get(timeout=PATIENCE)

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        self.client.socket().close()
        self.client.loop_stop()


def check(what, condition):
    print(what, flush=True)
    assert condition, what


for version in (mqtt.MQTTv311, mqtt.MQTTv5):
    name = "3.1.1" if version == mqtt.MQTTv311 else "5.0"
    for tls in (False, True):
        inside = Client("p-inside", "inside", version, tls)
        alice = Client("p-alice", "alice", version, tls)
        check(f"{name}: granted and refused", alice.subscribe("demo/alice/answers/#", 2) == [2])
        check(f"{name}: # is refused", alice.subscribe("#") in ([0x80], [0x87]))
        for qos in (0, 1, 2):
            inside.publish(f"demo/alice/answers/{qos}", f"qos {qos}", qos)
            message = alice.message()
            check(f"{name}: QoS {qos}", (message.payload.decode(), message.qos) == (f"qos {qos}", qos))
        inside.publish("demo/alice/answers/kept", "kept", 1, retain=True)
        check(f"{name}: live", not alice.message().retain)
        later = Client("p-later", "alice", version, tls)
        later.subscribe("demo/alice/answers/kept")
        check(f"{name}: retained", later.message().retain)
        inside.publish("demo/alice/answers/kept", "", 1, retain=True)
        alice.message()
        for client in (inside, alice, later):
            client.leave()

    kept = Client(f"p-kept-{name}", "alice", version, clean=False)
    check(f"{name}: a new session", not kept.present)
    kept.subscribe("demo/alice/answers/#", 1)
    kept.leave()
    inside = Client("p-inside", "inside", version)
    inside.publish("demo/alice/answers/1", "while away", 1)
    kept = Client(f"p-kept-{name}", "alice", version, clean=False)
    check(f"{name}: session present", kept.present)
    check(f"{name}: queued", kept.message().payload == b"while away")

    inside.subscribe("demo/+/requests/will")
    dying = Client("p-dying", "alice", version, will=("demo/alice/requests/will", "gone", 1, False))
    dying.vanish()
    check(f"{name}: will", inside.message().payload == b"gone")
    for client in (inside, kept):
        client.leave()

shown = Client("p-cert", "alice", mqtt.MQTTv5, certificate=True)
check("a client certificate is accepted beside the password", shown.code == 0)
shown.leave()

members = [Client(f"p-member-{number}", "inside", mqtt.MQTTv5) for number in range(2)]
for member in members:
    check("shared", member.subscribe("$share/workers/demo/jobs", options=SubscribeOptions(qos=1)) == [1])
sender = Client("p-sender", "inside", mqtt.MQTTv5)
for number in range(10):
    sender.publish("demo/jobs", str(number), 1)
received = sorted(int(member.message().payload) for member in members for _ in range(5))
check("shared: each once", received == list(range(10)))
for client in [*members, sender]:
    client.leave()
print("all is well")
