/* A stand-in for libnvidia-ml.so. What it tells stands in the file STATE, one "key value" a line,
 * read anew at every call. OLD_DRIVER leaves out what drivers of 2016 had not. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int ret;
enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, LOST = 15 };
typedef struct { long index; } *device;
static struct { long index; } cards[64];

static int text(const char *key, char *value, size_t size) {
    char line[256];
    size_t length = strlen(key);
    int found = 0;
    FILE *file = fopen(STATE, "r");
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ') {
            line[strcspn(line, "\n")] = 0;
            snprintf(value, size, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static long number(const char *key, long fallback) {
    char value[256];
    return text(key, value, sizeof value) ? atol(value) : fallback;
}

/* A number of a card; a card that is lost has none, and one that is not set is not supported. */
static ret of_card(device card, const char *what, unsigned int *value) {
    char key[128];
    snprintf(key, sizeof key, "%ld.lost", card->index);
    if (number(key, 0)) return LOST;
    snprintf(key, sizeof key, "%ld.%s", card->index, what);
    long found = number(key, -1);
    if (found < 0) return UNSUPPORTED;
    *value = (unsigned int)found;
    return OK;
}

ret nvmlInit_v2(void) { return (ret)number("init", OK); }
ret nvmlShutdown(void) { return OK; }

ret nvmlSystemGetDriverVersion(char *version, unsigned int size) {
    return text("driver", version, size) ? OK : UNSUPPORTED;
}

ret nvmlDeviceGetCount_v2(unsigned int *count) {
    while (number("hang", 0)) usleep(5000);
    *count = (unsigned int)number("count", 0);
    return OK;
}

ret nvmlDeviceGetHandleByIndex_v2(unsigned int index, device *card) {
    char key[128];
    if (index >= 64 || (long)index >= number("count", 0)) return INVALID;
    snprintf(key, sizeof key, "%u.handle", index);
    if (number(key, OK)) return (ret)number(key, OK);
    cards[index].index = index;
    *card = (device)&cards[index];
    return OK;
}

ret nvmlDeviceGetName(device card, char *name, unsigned int size) {
    char key[128];
    snprintf(key, sizeof key, "%ld.name", card->index);
    return text(key, name, size) ? OK : UNSUPPORTED;
}

ret nvmlDeviceGetUtilizationRates(device card, unsigned int rates[2]) {
    rates[1] = 0;
    return of_card(card, "use", &rates[0]);
}

ret nvmlDeviceGetDecoderUtilization(device card, unsigned int *use, unsigned int *period) {
    *period = 1000;
    return of_card(card, "decoder", use);
}

ret nvmlDeviceGetEncoderUtilization(device card, unsigned int *use, unsigned int *period) {
    *period = 1000;
    return of_card(card, "encoder", use);
}

ret nvmlDeviceGetTemperature(device card, unsigned int sensor, unsigned int *celsius) {
    return sensor ? INVALID : of_card(card, "celsius", celsius);
}

ret nvmlDeviceGetPowerUsage(device card, unsigned int *milliwatts) { return of_card(card, "milliwatts", milliwatts); }

ret nvmlDeviceGetClockInfo(device card, unsigned int type, unsigned int *megahertz) {
    return of_card(card, type == 2 ? "memory_clock" : "clock", megahertz);
}

#ifndef OLD_DRIVER
ret nvmlDeviceGetEncoderStats(device card, unsigned int *sessions, unsigned int *fps, unsigned int *latency) {
    *fps = *latency = 0;
    return of_card(card, "sessions", sessions);
}

ret nvmlDeviceGetTotalEnergyConsumption(device card, unsigned long long *millijoules) {
    unsigned int value = 0;
    ret answer = of_card(card, "millijoules", &value);
    *millijoules = value;
    return answer;
}

typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory;

ret nvmlDeviceGetMemoryInfo_v2(device card, memory *memory) {
    unsigned int total = 0, used = 0;
    if (memory->version != (sizeof *memory | 2u << 24)) return 25;
    ret answer = of_card(card, "memory_mb", &total);
    if (answer) return answer;
    answer = of_card(card, "used_mb", &used);
    memory->total = (unsigned long long)total << 20;
    memory->used = (unsigned long long)used << 20;
    memory->reserved = 0;
    memory->free = memory->total - memory->used;
    return answer;
}

typedef struct { char old[16]; unsigned int domain, bus, device, id, sub; char bus_id[32]; } pci;

ret nvmlDeviceGetPciInfo_v3(device card, pci *pci) {
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:0%lX:00.0", card->index + 1);
    return OK;
}
#endif
