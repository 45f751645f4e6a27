/* paho's library in C: what it does with the broker. Run as `paho_c die VERSION` it connects with a
   Will and ends without a word. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <MQTTClient.h>

#define ANSWERS "demo/alice/answers/+"
#define ANSWER "demo/alice/answers/1"
#define REQUESTS "demo/+/requests/+"
#define REQUEST "demo/alice/requests/1"
#define PATIENCE 10000
#define CLIENTS 8

struct version {
    const char *name;
    int number;
};

static const struct version VERSIONS[] = {
    {"3.1", MQTTVERSION_3_1}, {"3.1.1", MQTTVERSION_3_1_1}, {"5.0", MQTTVERSION_5}};

static const char *program;
static const char *password;

/* The attempt: where a failed check goes to, what it found, and whom it left connected. */
static jmp_buf failed;
static char what[300];
static int version;
static MQTTClient connected[CLIENTS];
static int clients;

static void check(int condition, const char *format, ...) {
    if (condition) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    longjmp(failed, 1);
}

/* How to connect; what is zero is the usual. */
struct how {
    const char *scheme, *port, *name, *password;
    int keep, will, aliases;
    int present;
};

static MQTTProperty number(enum MQTTPropertyCodes code, unsigned int value) {
    MQTTProperty property = {0};
    property.identifier = code;
    switch (MQTTProperty_getType(code)) {
    case MQTTPROPERTY_TYPE_TWO_BYTE_INTEGER: property.value.integer2 = (unsigned short)value; break;
    default: property.value.integer4 = value;
    }
    return property;
}

static MQTTProperty text(enum MQTTPropertyCodes code, const char *bytes, size_t length) {
    MQTTProperty property = {0};
    property.identifier = code;
    property.value.data.data = (char *)bytes;
    property.value.data.len = (int)length;
    return property;
}

static int attempt_to_connect(const char *user, struct how *how, MQTTClient *client) {
    char uri[100];
    const char *port = getenv(how->port ? how->port : "PLAIN_PORT");
    int websocket = how->scheme && strcmp(how->scheme, "ws") == 0;
    snprintf(uri, sizeof uri, "%s://localhost:%s%s", how->scheme ? how->scheme : "tcp", port, websocket ? "/mqtt" : "");
    MQTTClient_createOptions created = MQTTClient_createOptions_initializer;
    created.MQTTVersion = version;
    const char *name = how->name ? how->name : user;
    check(MQTTClient_createWithOptions(client, uri, name, MQTTCLIENT_PERSISTENCE_NONE, NULL, &created) == 0, "not made");
    connected[clients++] = *client;

    MQTTClient_connectOptions three = MQTTClient_connectOptions_initializer;
    MQTTClient_connectOptions five = MQTTClient_connectOptions_initializer5;
    MQTTClient_connectOptions options = version == MQTTVERSION_5 ? five : three;
    options.MQTTVersion = version;
    options.username = user;
    options.password = how->password ? how->password : password;
    options.connectTimeout = PATIENCE / 1000;
    if (version == MQTTVERSION_5) options.cleanstart = !how->keep;
    else options.cleansession = !how->keep;
    MQTTClient_willOptions will = MQTTClient_willOptions_initializer;
    will.topicName = REQUEST;
    will.message = "gone";
    will.qos = 1;
    if (how->will) options.will = &will;
    MQTTClient_SSLOptions tls = MQTTClient_SSLOptions_initializer;
    char trusted[300];
    snprintf(trusted, sizeof trusted, "%s/ca.crt", getenv("FILES"));
    tls.trustStore = trusted;
    tls.verify = 1;
    if (how->scheme && strcmp(how->scheme, "ssl") == 0) options.ssl = &tls;

    int code;
    if (version == MQTTVERSION_5) {
        MQTTProperties properties = MQTTProperties_initializer;
        MQTTProperty expiry = number(MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 3600);
        MQTTProperty maximum = number(MQTTPROPERTY_CODE_TOPIC_ALIAS_MAXIMUM, (unsigned int)how->aliases);
        if (how->keep) MQTTProperties_add(&properties, &expiry);
        if (how->aliases) MQTTProperties_add(&properties, &maximum);
        MQTTResponse response = MQTTClient_connect5(*client, &options, &properties, NULL);
        code = response.reasonCode;
        MQTTResponse_free(response);
        MQTTProperties_free(&properties);
    } else {
        code = MQTTClient_connect(*client, &options);
    }
    how->present = options.returned.sessionPresent;
    return code;
}

static MQTTClient connect_as(const char *user, struct how how) {
    MQTTClient client;
    int code = attempt_to_connect(user, &how, &client);
    check(code == 0, "connecting: %d", code);
    return client;
}

static MQTTClient plain(const char *user) {
    return connect_as(user, (struct how){0});
}

static int subscribe(MQTTClient client, const char *filter, int qos, int identifier) {
    if (version != MQTTVERSION_5) return MQTTClient_subscribe(client, filter, qos);
    MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty found = number(MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, (unsigned int)identifier);
    if (identifier) MQTTProperties_add(&properties, &found);
    MQTTResponse response = MQTTClient_subscribe5(client, filter, qos, NULL, &properties);
    int code = response.reasonCode;
    MQTTResponse_free(response);
    MQTTProperties_free(&properties);
    return code == qos ? 0 : code;
}

static void granted(MQTTClient client, const char *filter, int qos) {
    int code = subscribe(client, filter, qos, 0);
    check(code == 0, "subscribing: %d", code);
}

static void publish_with(MQTTClient client, const char *topic, const char *payload, int qos, int retained,
                         const MQTTProperty *with, int count) {
    MQTTClient_message message = MQTTClient_message_initializer;
    message.payload = (void *)payload;
    message.payloadlen = (int)strlen(payload);
    message.qos = qos;
    message.retained = retained;
    for (int index = 0; index < count; index++) MQTTProperties_add(&message.properties, &with[index]);
    MQTTClient_deliveryToken token;
    int code;
    if (version == MQTTVERSION_5) {
        MQTTResponse response = MQTTClient_publishMessage5(client, topic, &message, &token);
        code = response.reasonCode;
        MQTTResponse_free(response);
    } else {
        code = MQTTClient_publishMessage(client, topic, &message, &token);
    }
    MQTTProperties_free(&message.properties);
    check(code == 0, "publishing: %d", code);
    code = MQTTClient_waitForCompletion(client, token, PATIENCE);
    check(code == 0, "no acknowledgement: %d", code);
}

static void publish(MQTTClient client, const char *topic, const char *payload, int qos) {
    publish_with(client, topic, payload, qos, 0, NULL, 0);
}

static MQTTClient_message *message_within(MQTTClient client, char *topic, size_t size, unsigned long patience) {
    char *name = NULL;
    int length = 0;
    MQTTClient_message *message = NULL;
    int code = MQTTClient_receive(client, &name, &length, &message, patience);
    check(code == 0 || code == MQTTCLIENT_TOPICNAME_TRUNCATED, "receiving: %d", code);
    if (message && topic) snprintf(topic, size, "%.*s", length, name);
    MQTTClient_free(name);
    return message;
}

/* The next message, whose payload must be this. */
static MQTTClient_message *expect(MQTTClient client, const char *payload) {
    MQTTClient_message *message = message_within(client, NULL, 0, PATIENCE);
    check(message != NULL, "nothing came");
    check(message->payloadlen == (int)strlen(payload) && !memcmp(message->payload, payload, strlen(payload)),
          "%.*s, not %s", message->payloadlen, (char *)message->payload, payload);
    return message;
}

static void connects(void) {
    plain("alice");
}

static void wrong_password(void) {
    MQTTClient client;
    struct how how = {.password = "wrong"};
    int code = attempt_to_connect("alice", &how, &client);
    check(code == 4 || code == 5 || code == 0x86 || code == 0x87, "%d", code);
}

static void exchange(struct how how, int qos) {
    MQTTClient alice = connect_as("alice", how), inside = connect_as("inside", how);
    granted(alice, ANSWERS, qos);
    publish(inside, ANSWER, "sent", qos);
    MQTTClient_message *message = expect(alice, "sent");
    check(message->qos == qos, "QoS %d", message->qos);
    MQTTClient_freeMessage(&message);
}

static void qos_0(void) { exchange((struct how){0}, 0); }
static void qos_1(void) { exchange((struct how){0}, 1); }
static void qos_2(void) { exchange((struct how){0}, 2); }
static void tls(void) { exchange((struct how){.scheme = "ssl", .port = "TLS_PORT"}, 1); }
static void websocket(void) { exchange((struct how){.scheme = "ws", .port = "WS_PORT"}, 1); }

static void retained(void) {
    MQTTClient alice = plain("alice"), inside = plain("inside");
    publish_with(inside, ANSWER, "kept", 1, 1, NULL, 0);
    granted(alice, ANSWERS, 1);
    MQTTClient_message *message = expect(alice, "kept");
    check(message->retained, "without the flag");
    MQTTClient_freeMessage(&message);
    publish_with(inside, ANSWER, "", 1, 1, NULL, 0);
}

static void will(void) {
    MQTTClient inside = plain("inside");
    granted(inside, REQUESTS, 1);
    char command[400];
    snprintf(command, sizeof command, "'%s' die %d", program, version);
    check(system(command) == 0, "it did not connect");
    MQTTClient_message *message = expect(inside, "gone");
    MQTTClient_freeMessage(&message);
}

static void persistent(void) {
    char name[20];
    snprintf(name, sizeof name, "kept-%d", version);
    struct how how = {.name = name, .keep = 1};
    MQTTClient alice;
    check(attempt_to_connect("alice", &how, &alice) == 0 && !how.present, "a session before there was one");
    granted(alice, ANSWERS, 1);
    MQTTClient_disconnect(alice, 0);
    publish(plain("inside"), ANSWER, "while away", 1);
    check(attempt_to_connect("alice", &how, &alice) == 0, "not again");
    MQTTClient_message *message = expect(alice, "while away");
    MQTTClient_freeMessage(&message);
    /* 3.1 has no such flag, and in 5.0 the library does not hand it on. */
    check(how.present == (version == MQTTVERSION_3_1_1), "session present: %d", how.present);
}

static void shared(void) {
    MQTTClient alice = plain("alice");
    MQTTClient members[] = {plain("inside"), connect_as("inside", (struct how){.name = "other"})};
    for (int member = 0; member < 2; member++) granted(members[member], "$share/workers/demo/alice/requests/+", 1);
    for (int job = 0; job < 10; job++) {
        char payload[2] = {(char)('0' + job), 0};
        publish(alice, REQUEST, payload, 1);
    }
    int seen[10] = {0}, by[2] = {0};
    time_t until = time(NULL) + PATIENCE / 1000;
    while (by[0] + by[1] < 10 && time(NULL) < until) {
        for (int member = 0; member < 2; member++) {
            MQTTClient_message *message = message_within(members[member], NULL, 0, 20);
            if (!message) continue;
            by[member]++;
            seen[*(char *)message->payload - '0']++;
            MQTTClient_freeMessage(&message);
        }
    }
    for (int job = 0; job < 10; job++) check(seen[job] == 1, "job %d came %d times", job, seen[job]);
    check(by[0] && by[1], "%d and %d", by[0], by[1]);
}

static void guarded(void) {
    int code = subscribe(plain("alice"), "#", 0, 0);
    check(code >= 0x80, "%d", code);
}

static MQTTClient_message *arrived(const MQTTProperty *with, int count) {
    MQTTClient alice = plain("alice"), inside = plain("inside");
    granted(alice, ANSWERS, 1);
    publish_with(inside, ANSWER, "x", 1, 0, with, count);
    return expect(alice, "x");
}

static void user_properties(void) {
    MQTTProperty sent[2];
    for (int index = 0; index < 2; index++) {
        sent[index] = text(MQTTPROPERTY_CODE_USER_PROPERTY, "a", 1);
        sent[index].value.value.data = index ? "2" : "1";
        sent[index].value.value.len = 1;
    }
    MQTTClient_message *message = arrived(sent, 2);
    for (int index = 0; index < 2; index++) {
        MQTTProperty *found = MQTTProperties_getPropertyAt(&message->properties, MQTTPROPERTY_CODE_USER_PROPERTY, index);
        check(found && *found->value.data.data == 'a' && *found->value.value.data == *sent[index].value.value.data,
              "not as it was sent");
    }
    MQTTClient_freeMessage(&message);
}

static void expiry(void) {
    MQTTProperty sent = number(MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, 100);
    MQTTClient_message *message = arrived(&sent, 1);
    int left = MQTTProperties_getNumericValue(&message->properties, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
    check(left > 0 && left <= 100, "%d", left);
    MQTTClient_freeMessage(&message);
}

static void respond(void) {
    MQTTClient alice = plain("alice"), inside = plain("inside");
    granted(inside, REQUESTS, 1);
    granted(alice, ANSWERS, 1);
    MQTTProperty ask[] = {text(MQTTPROPERTY_CODE_RESPONSE_TOPIC, ANSWER, strlen(ANSWER)),
                          text(MQTTPROPERTY_CODE_CORRELATION_DATA, "\0\xff", 2)};
    publish_with(alice, REQUEST, "ask", 1, 0, ask, 2);
    MQTTClient_message *asked = expect(inside, "ask");
    MQTTProperty *topic = MQTTProperties_getProperty(&asked->properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC);
    MQTTProperty *mine = MQTTProperties_getProperty(&asked->properties, MQTTPROPERTY_CODE_CORRELATION_DATA);
    check(topic && mine, "without the properties");
    char name[100];
    snprintf(name, sizeof name, "%.*s", topic->value.data.len, topic->value.data.data);
    publish_with(inside, name, "answer", 1, 0, mine, 1);
    MQTTClient_freeMessage(&asked);
    MQTTClient_message *answer = expect(alice, "answer");
    mine = MQTTProperties_getProperty(&answer->properties, MQTTPROPERTY_CODE_CORRELATION_DATA);
    check(mine && mine->value.data.len == 2 && !memcmp(mine->value.data.data, "\0\xff", 2), "not as it was sent");
    MQTTClient_freeMessage(&answer);
}

static void identifiers(void) {
    MQTTClient alice = plain("alice"), inside = plain("inside");
    subscribe(alice, ANSWERS, 1, 7);
    subscribe(alice, ANSWER, 1, 8);
    publish(inside, ANSWER, "x", 1);
    /* The broker is configured, as mosquitto is, to send a copy for each subscription. */
    int found[2];
    for (int copy = 0; copy < 2; copy++) {
        MQTTClient_message *message = expect(alice, "x");
        found[copy] = MQTTProperties_getNumericValue(&message->properties, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER);
        MQTTClient_freeMessage(&message);
    }
    check(found[0] + found[1] == 15 && found[0] * found[1] == 56, "%d and %d", found[0], found[1]);
}

static void aliases_out(void) {
    MQTTClient alice = plain("alice"), inside = plain("inside");
    granted(alice, ANSWERS, 1);
    MQTTProperty alias = number(MQTTPROPERTY_CODE_TOPIC_ALIAS, 1);
    const char *topics[] = {ANSWER, "", ""};
    for (int index = 0; index < 3; index++) {
        publish_with(inside, topics[index], "x", 1, 0, &alias, 1);
        char topic[100];
        MQTTClient_message *message = message_within(alice, topic, sizeof topic, PATIENCE);
        check(message && !strcmp(topic, ANSWER), "%s", message ? topic : "nothing came");
        MQTTClient_freeMessage(&message);
    }
}

static void aliases_in(void) {
    MQTTClient alice = connect_as("alice", (struct how){.aliases = 5}), inside = plain("inside");
    granted(alice, ANSWERS, 1);
    /* The library hands the aliases on, and leaves the names to the program. */
    char names[6][100] = {{0}};
    int used = 0;
    for (int index = 0; index < 10; index++) {
        publish(inside, ANSWER, "x", 1);
        char topic[100];
        MQTTClient_message *message = message_within(alice, topic, sizeof topic, PATIENCE);
        check(message != NULL, "nothing came");
        int alias = MQTTProperties_getNumericValue(&message->properties, MQTTPROPERTY_CODE_TOPIC_ALIAS);
        if (alias > 0 && alias <= 5) {
            used++;
            if (*topic) strcpy(names[alias], topic);
            else strcpy(topic, names[alias]);
        }
        check(!strcmp(topic, ANSWER), "message %d on '%s' with %d", index, topic, alias);
        MQTTClient_freeMessage(&message);
    }
    check(used > 1, "no alias was used");
}

static void leave(void) {
    while (clients) {
        MQTTClient_disconnect(connected[--clients], 0);
        MQTTClient_destroy(&connected[clients]);
    }
}

/* The library says its version among other things. */
static void say_version(void) {
    MQTTClient_nameValue *about = MQTTClient_getVersionInfo();
    while (about->name && strcmp(about->name, "Version")) about++;
    printf("version: %s\n", about->name ? about->value : "unknown");
}

static int tried(void (*attempt)(void)) {
    int well = setjmp(failed) == 0;
    if (well) attempt();
    leave();
    return well;
}

struct feature {
    const char *name;
    void (*attempt)(void);
    int first, last;
    const char *remark;
};

static const struct feature FEATURES[] = {
    {"connect 3.1", connects, 0, 0, NULL},
    {"connect 3.1.1", connects, 1, 1, NULL},
    {"connect 5.0", connects, 2, 2, NULL},
    {"wrong password is refused", wrong_password, 0, 2, NULL},
    {"QoS 0", qos_0, 0, 2, NULL},
    {"QoS 1", qos_1, 0, 2, NULL},
    {"QoS 2", qos_2, 0, 2, NULL},
    {"retained", retained, 0, 2, NULL},
    {"will", will, 0, 2, NULL},
    {"persistent session", persistent, 0, 2, NULL},
    {"shared subscription", shared, 1, 2, NULL},
    {"# is refused", guarded, 1, 2, NULL},
    {"TLS", tls, 0, 2, NULL},
    {"WebSocket", websocket, 0, 2, NULL},
    {"user properties", user_properties, 2, 2, NULL},
    {"message expiry", expiry, 2, 2, NULL},
    {"request and response", respond, 2, 2, NULL},
    {"subscription identifiers", identifiers, 2, 2, NULL},
    {"topic aliases to the broker", aliases_out, 2, 2, NULL},
    {"topic aliases from the broker", aliases_in, 2, 2, "the program has to remember the names"},
};

int main(int count, char **arguments) {
    program = arguments[0];
    password = getenv("PASSWORD");
    MQTTClient_init_options init = MQTTClient_init_options_initializer;
    init.do_openssl_init = 1;
    MQTTClient_global_init(&init);
    if (count == 3) {
        version = atoi(arguments[2]);
        if (setjmp(failed)) return 1;
        connect_as("alice", (struct how){.will = 1});
        _exit(0);
    }
    say_version();
    for (size_t index = 0; index < sizeof FEATURES / sizeof *FEATURES; index++) {
        const struct feature *feature = &FEATURES[index];
        int of = feature->first;
        for (; of <= feature->last; of++) {
            version = VERSIONS[of].number;
            if (!tried(feature->attempt)) break;
        }
        if (of <= feature->last) printf("%s: no (%s, in %s)\n", feature->name, what, VERSIONS[of].name);
        else if (feature->remark) printf("%s: yes (%s)\n", feature->name, feature->remark);
        else printf("%s: yes\n", feature->name);
        fflush(stdout);
    }
    return 0;
}
