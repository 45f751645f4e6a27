"""paho-mqtt over WebSockets, with and without TLS, in 3.1.1 and 5.0."""

import os
import queue

import paho.mqtt.client as mqtt

FILES = os.environ["FILES"]
PASSWORD = os.environ["PASSWORD"]
PATIENCE = 20


def client(user, version, tls):
    """A connected client, and what it receives."""
    made = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=f"p-{user}", transport="websockets", protocol=version
    )
    made.username_pw_set(user, PASSWORD)
    events = queue.Queue()
    made.on_connect = lambda _c, _u, _f, code, _p: events.put(code)
    made.on_subscribe = lambda _c, _u, _m, codes, _p: events.put(codes)
    made.on_message = lambda _c, _u, message: events.put(message.payload)
    if tls:
        made.tls_set(f"{FILES}/ca.crt")
    made.connect("localhost", int(os.environ["TLS_PORT" if tls else "PLAIN_PORT"]))
    made.loop_start()
    assert not events.get(timeout=PATIENCE).is_failure
    return made, events


for version in (mqtt.MQTTv311, mqtt.MQTTv5):
    for tls in (False, True):
        alice, received = client("alice", version, tls)
        inside, _ = client("inside", version, tls)
        alice.subscribe("demo/alice/answers/#", qos=2)
        assert not received.get(timeout=PATIENCE)[0].is_failure
        for qos in (0, 1, 2):
            inside.publish("demo/alice/answers/1", f"qos {qos}", qos=qos).wait_for_publish(PATIENCE)
            assert received.get(timeout=PATIENCE) == f"qos {qos}".encode()
        for each in (alice, inside):
            each.disconnect()
            each.loop_stop()
        print(version, tls)
print("all is well")
