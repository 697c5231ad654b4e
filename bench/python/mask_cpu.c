/* Answers `cpuid` as a lesser processor would, for code in which each `cpuid` (0F A2) was replaced by
 * `int3; nop` (CC 90): see mask_cpu.py. MASK_CPU names the level: avx512 hides AMX, avxvnni AVX-512
 * too, avx2 also AVX-VNNI.
 *
 * Bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CPUID. */

#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

/* Leaf 7: AVX512F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ; 4VNNIW,
 * 4FMAPS, VP2INTERSECT, FP16; AMX-BF16, TILE, INT8. Leaf 7.1: AVX512-BF16; AMX-FP16; AVX-VNNI. */
static const unsigned AVX512_EBX = 1u << 16 | 1u << 17 | 1u << 21 | 7u << 26 | 3u << 30;
static const unsigned AVX512_ECX = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
static const unsigned AVX512_EDX = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 23;
static const unsigned AVX512_EAX_1 = 1u << 5;
static const unsigned AMX_EDX = 1u << 22 | 1u << 24 | 1u << 25;
static const unsigned AMX_EAX_1 = 1u << 21;
static const unsigned VNNI_EAX_1 = 1u << 4 | 1u << 23;
/* Leaf 7.1, EDX: AVX-VNNI-INT8, AVX-NE-CONVERT, AVX-VNNI-INT16, AVX10. */
static const unsigned VNNI_EDX_1 = 1u << 4 | 1u << 5 | 1u << 10 | 1u << 19;

static int hides_avx512, hides_vnni;

static void answer(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    unsigned leaf = registers[REG_RAX], part = registers[REG_RCX], eax, ebx, ecx, edx;
    /* IP is behind `int3`, before `nop`. */
    __cpuid_count(leaf, part, eax, ebx, ecx, edx);
    if (leaf == 7 && part == 0) {
        edx &= ~AMX_EDX;
        if (hides_avx512) {
            ebx &= ~AVX512_EBX;
            ecx &= ~AVX512_ECX;
            edx &= ~AVX512_EDX;
        }
    } else if (leaf == 7 && part == 1) {
        eax &= ~AMX_EAX_1;
        if (hides_avx512) eax &= ~AVX512_EAX_1;
        if (hides_vnni) {
            eax &= ~VNNI_EAX_1;
            edx &= ~VNNI_EDX_1;
        }
    }
    registers[REG_RAX] = eax;
    registers[REG_RBX] = ebx;
    registers[REG_RCX] = ecx;
    registers[REG_RDX] = edx;
}

__attribute__((constructor)) static void begin(void) {
    const char *level = getenv("MASK_CPU");
    hides_vnni = level && !strcmp(level, "avx2");
    hides_avx512 = hides_vnni || (level && !strcmp(level, "avxvnni"));
    struct sigaction action = {0};
    action.sa_sigaction = answer;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &action, NULL);
}
