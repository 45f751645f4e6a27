"""awscrt: what its client of 5.0 does with the broker."""

import asyncio

from awscrt import io, mqtt5

from scenarios import FILES, PASSWORD, PORTS, Message, Refused, run

NAMES = {
    "expiry": "message_expiry_interval_sec",
    "response": "response_topic",
    "correlation": "correlation_data_bytes",
    "alias": "topic_alias",
    "identifiers": "subscription_identifiers",
}


def received(packet):
    properties = {name: getattr(packet, attribute) for name, attribute in NAMES.items()}
    properties["user"] = [(pair.name, pair.value) for pair in packet.user_properties or []]
    properties = {name: value for name, value in properties.items() if value is not None}
    return Message(packet.topic, packet.payload, int(packet.qos), packet.retain, properties)


class Client:
    """What the callbacks say goes into queues of the scenarios' loop."""

    def __init__(self):
        self.messages, self.lifecycle = asyncio.Queue(), asyncio.Queue()
        self.topic = None
        loop = asyncio.get_running_loop()

        def put(queue, item):
            loop.call_soon_threadsafe(queue.put_nowait, item)

        self.callbacks = {
            "on_publish_callback_fn": lambda data: put(self.messages, received(data.publish_packet)),
            "on_lifecycle_event_connection_success_fn": lambda data: put(self.lifecycle, data.connack_packet),
            "on_lifecycle_event_connection_failure_fn": lambda data: put(self.lifecycle, data.exception),
            "on_lifecycle_event_stopped_fn": lambda data: put(self.lifecycle, "stopped"),
        }

    async def subscribe(self, topic_filter, qos, identifier=None):
        wanted = mqtt5.Subscription(topic_filter, mqtt5.QoS(qos))
        packet = mqtt5.SubscribePacket([wanted], subscription_identifier=identifier)
        suback = await asyncio.wrap_future(self.client.subscribe(packet))
        return int(suback.reason_codes[0]) < 0x80

    async def publish(self, topic, payload, qos, retain=False, **properties):
        # With an alias it wants the name all the same, and leaves it out itself.
        self.topic = topic or self.topic
        user = [mqtt5.UserProperty(*pair) for pair in properties.pop("user", [])]
        options = {NAMES[name]: value for name, value in properties.items()}
        packet = mqtt5.PublishPacket(payload, mqtt5.QoS(qos), retain, self.topic, user_properties=user, **options)
        await asyncio.wrap_future(self.client.publish(packet))

    async def message(self):
        return await self.messages.get()

    async def stop(self, packet):
        self.client.stop(packet)
        while await self.lifecycle.get() != "stopped":
            pass

    async def leave(self):
        await self.stop(mqtt5.DisconnectPacket())

    async def vanish(self):
        # Without a packet it sends none.
        await self.stop(None)


async def connect(user, _version, by="PLAIN", name=None, clean=True, will=None, password=PASSWORD, aliases=0):
    made = Client()
    packet = mqtt5.ConnectPacket(
        client_id=name or user, username=user, password=password, keep_alive_interval_sec=60,
        session_expiry_interval_sec=None if clean else 3600,
        will=mqtt5.PublishPacket(will[1], mqtt5.QoS.AT_LEAST_ONCE, False, will[0]) if will else None,
    )
    aliasing = mqtt5.TopicAliasingOptions(outbound_behavior=mqtt5.OutboundTopicAliasBehaviorType.MANUAL)
    if aliases:
        aliasing.inbound_behavior = mqtt5.InboundTopicAliasBehaviorType.ENABLED
        aliasing.inbound_cache_max_size = aliases
    behaviors = mqtt5.ClientSessionBehaviorType
    options = mqtt5.ClientOptions(
        "localhost", PORTS[by], connect_options=packet, topic_aliasing_options=aliasing, disable_metrics=True,
        session_behavior=behaviors.CLEAN if clean else behaviors.REJOIN_ALWAYS, **made.callbacks,
    )
    if by == "TLS":
        context = io.TlsContextOptions()
        context.override_default_trust_store_from_path(ca_filepath=f"{FILES}/ca.crt")
        options.tls_ctx = io.ClientTlsContext(context)
    if by == "WS":
        options.websocket_handshake_transform = lambda transform_args: transform_args.set_done()
    made.client = mqtt5.Client(options)
    made.client.start()
    outcome = await made.lifecycle.get()
    if isinstance(outcome, Exception):
        await made.stop(None)
        raise Refused(outcome)
    made.present = outcome.session_present
    return made


CANNOT = {
    "connect 3.1": "it speaks 3.1.1 and 5.0",
    "connect 3.1.1": "not tried: a client of its own in the library",
    "QoS 2": "QoS 0 and 1 only",
}
asyncio.run(run("awscrt", connect, ["5.0"], CANNOT, {}))
