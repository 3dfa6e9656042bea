/* A plugin of qemu's that counts the instructions of an emulated program, all its threads together.
 *
 * The program marks a place by the system call getpriority(MARK, number), which no program makes
 * otherwise and which does nothing; the plugin then prints "counted NUMBER INSTRUCTIONS" on standard
 * error: how many were executed since the program began. qemu's header is not in its packages, so
 * what is used of it is declared here; these calls are the same in qemu 7.2 to 10.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define GETPRIORITY 141 /* of Linux on aarch64 */
#define MARK 0xC0DE

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION 1 /* qemu 7 and 8.0 to 8.1; later ones want 2: emulated.py says which */
#endif

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
enum { NO_REGISTERS = 0 };

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t));

int qemu_plugin_version = PLUGIN_VERSION;
static uint64_t counted;

static void executed(unsigned vcpu, void *instructions)
{
    (void)vcpu;
    __atomic_fetch_add(&counted, (uint64_t)(uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    void *instructions = (void *)(uintptr_t)qemu_plugin_tb_n_insns(block);
    qemu_plugin_register_vcpu_tb_exec_cb(block, executed, NO_REGISTERS, instructions);
}

static void called(plugin_id id, unsigned vcpu, int64_t call, uint64_t which, uint64_t number, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (call == GETPRIORITY && which == MARK)
        fprintf(stderr, "counted %" PRIu64 " %" PRIu64 "\n", number, __atomic_load_n(&counted, __ATOMIC_RELAXED));
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
