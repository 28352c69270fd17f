/* One GPU behind NVML's C interface, for tests that let the real Python bindings call it. */
#include <string.h>

typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned long long total, free, used; } memory_t;

int nvmlInitWithFlags(unsigned int flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int status) { return status == 3 ? "Not Supported" : "Unknown Error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned int length) { strncpy(text, "580.65.06", length); return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(1ul + index); return 0; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned int length) { strncpy(text, "GPU-c0ffee", length); return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned int length) { strncpy(text, "NVIDIA H200", length); return 0; }
int nvmlDeviceGetUtilizationRates(void *device, utilization_t *rates) { rates->gpu = 37; rates->memory = 12; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory_t *memory)
{
    memory->total = 150754820096ull;
    memory->used = 754820096ull;
    memory->free = memory->total - memory->used;
    return 0;
}
int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius)
{
    if (sensor != 0) return 2;
    *celsius = 41;
    return 0;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts) { *milliwatts = 123456; return 0; }
int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons) { *reasons = 0x40; return 0; }
int nvmlDeviceGetTotalEccErrors(void *device, int kind, int since, unsigned long long *count)
{
    if (since != 0) return 2;
    if (kind == 1) return 3;
    *count = 5;
    return 0;
}
