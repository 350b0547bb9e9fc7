# SPDX-License-Identifier: Apache-2.0
"""What the numbers in KVM's events are called.

Owns: the tables, in the words that the kernel prints, so that they can be
looked up there: asm/svm.h, asm/vmx.h and linux/kvm.h of its uapi headers, and
include/trace/events/kvm.h. A number that is not in a table stays a number.
"""

#: The instruction set of an exit, which decides the table: KVM_ISA_VMX, KVM_ISA_SVM.
VMX, SVM = 1, 2

#: Vector of an exception -> its name.
EXCEPTIONS = {
    0: "DE", 1: "DB", 3: "BP", 4: "OF", 5: "BR", 6: "UD", 7: "NM", 8: "DF", 10: "TS",
    11: "NP", 12: "SS", 13: "GP", 14: "PF", 16: "MF", 17: "AC", 18: "MC", 19: "XF",
}  # fmt: skip

#: SVM_EXIT_*: AMD. Registers and exceptions are ranges.
SVM_EXITS = {
    **{0x000 + n: f"read_cr{n}" for n in range(16)},
    **{0x010 + n: f"write_cr{n}" for n in range(16)},
    **{0x020 + n: f"read_dr{n}" for n in range(16)},
    **{0x030 + n: f"write_dr{n}" for n in range(16)},
    **{0x040 + vector: f"{name} excp" for vector, name in EXCEPTIONS.items()},
    0x060: "interrupt", 0x061: "nmi", 0x062: "smi", 0x063: "init", 0x064: "vintr",
    0x065: "cr0_sel_write", 0x066: "read_idtr", 0x067: "read_gdtr",
    0x068: "read_ldtr", 0x069: "read_tr", 0x06A: "write_idtr", 0x06B: "write_gdtr",
    0x06C: "write_ldtr", 0x06D: "write_tr", 0x06E: "rdtsc", 0x06F: "rdpmc",
    0x070: "pushf", 0x071: "popf", 0x072: "cpuid", 0x073: "rsm", 0x074: "iret",
    0x075: "swint", 0x076: "invd", 0x077: "pause", 0x078: "hlt", 0x079: "invlpg",
    0x07A: "invlpga", 0x07B: "io", 0x07C: "msr", 0x07D: "task_switch",
    0x07E: "ferr_freeze", 0x07F: "shutdown", 0x080: "vmrun", 0x081: "hypercall",
    0x082: "vmload", 0x083: "vmsave", 0x084: "stgi", 0x085: "clgi", 0x086: "skinit",
    0x087: "rdtscp", 0x088: "icebp", 0x089: "wbinvd", 0x08A: "monitor",
    0x08B: "mwait", 0x08C: "mwait_cond", 0x08D: "xsetbv", 0x08E: "rdpru",
    0x08F: "write_efer_trap",
    **{0x090 + n: f"write_cr{n}_trap" for n in range(16)},
    0x0A2: "invpcid", 0x400: "npf", 0x401: "avic_incomplete_ipi",
    0x402: "avic_unaccelerated_access", 0x403: "vmgexit",
    0xFFFFFFFF: "invalid_guest_state",
}  # fmt: skip

#: EXIT_REASON_*: Intel. The reason is in the lower half; a flag says that the
#: guest was not even entered.
VMX_REASON, VMX_FAILED_ENTRY = 0xFFFF, 0x80000000
VMX_EXITS = {
    0: "EXCEPTION_NMI", 1: "EXTERNAL_INTERRUPT", 2: "TRIPLE_FAULT", 3: "INIT_SIGNAL",
    4: "SIPI_SIGNAL", 7: "INTERRUPT_WINDOW", 8: "NMI_WINDOW", 9: "TASK_SWITCH",
    10: "CPUID", 12: "HLT", 13: "INVD", 14: "INVLPG", 15: "RDPMC", 16: "RDTSC",
    18: "VMCALL", 19: "VMCLEAR", 20: "VMLAUNCH", 21: "VMPTRLD", 22: "VMPTRST",
    23: "VMREAD", 24: "VMRESUME", 25: "VMWRITE", 26: "VMOFF", 27: "VMON",
    28: "CR_ACCESS", 29: "DR_ACCESS", 30: "IO_INSTRUCTION", 31: "MSR_READ",
    32: "MSR_WRITE", 33: "INVALID_STATE", 34: "MSR_LOAD_FAIL",
    36: "MWAIT_INSTRUCTION", 37: "MONITOR_TRAP_FLAG", 39: "MONITOR_INSTRUCTION",
    40: "PAUSE_INSTRUCTION", 41: "MCE_DURING_VMENTRY", 43: "TPR_BELOW_THRESHOLD",
    44: "APIC_ACCESS", 45: "EOI_INDUCED", 46: "GDTR_IDTR", 47: "LDTR_TR",
    48: "EPT_VIOLATION", 49: "EPT_MISCONFIG", 50: "INVEPT", 51: "RDTSCP",
    52: "PREEMPTION_TIMER", 53: "INVVPID", 54: "WBINVD", 55: "XSETBV",
    56: "APIC_WRITE", 57: "RDRAND", 58: "INVPCID", 59: "VMFUNC", 60: "ENCLS",
    61: "RDSEED", 62: "PML_FULL", 63: "XSAVES", 64: "XRSTORS", 67: "UMWAIT",
    68: "TPAUSE", 74: "BUS_LOCK", 75: "NOTIFY",
}  # fmt: skip

#: Reasons that come with the ticks of clocks, the guest's and the host's: the
#: longer a thing takes, the more of them.
TIMED = {
    "interrupt", "vintr", "msr",
    "EXTERNAL_INTERRUPT", "INTERRUPT_WINDOW", "MSR_WRITE", "PREEMPTION_TIMER",
}  # fmt: skip

#: KVM_EXIT_*: why the kernel returned to QEMU. intr is a signal, a kick of QEMU's.
USERSPACE_EXITS = {
    0: "unknown", 1: "exception", 2: "io", 3: "hypercall", 4: "debug", 5: "hlt",
    6: "mmio", 7: "irq_window_open", 8: "shutdown", 9: "fail_entry", 10: "intr",
    11: "set_tpr", 12: "tpr_access", 16: "nmi", 17: "internal_error",
    24: "system_event", 26: "ioapic_eoi", 27: "hyperv", 29: "rdmsr", 30: "wrmsr",
    31: "dirty_ring_full", 32: "ap_reset_hold", 33: "bus_lock", 34: "xen",
    37: "notify", 39: "memory_fault",
}  # fmt: skip

#: KVM_TRACE_MMIO_*. 0 is a read that QEMU has to answer: it is told once more,
#: as a read, when it has.
MMIO = {1: "read", 2: "write"}

#: The registers that a guest touches again and again.
MSRS = {
    0x10: "tsc", 0x1B: "apic_base", 0x3B: "tsc_adjust", 0x48: "spec_ctrl",
    0x49: "pred_cmd", 0x6E0: "tsc_deadline", 0x80B: "x2apic_eoi",
    0x830: "x2apic_icr", 0x832: "x2apic_lvt_timer", 0x838: "x2apic_timer", 0x83F: "x2apic_self_ipi",
    0xC0000080: "efer", 0x4B564D00: "kvm_wall_clock", 0x4B564D01: "kvm_clock",
    0x4B564D02: "kvm_async_pf", 0x4B564D03: "kvm_steal_time",
    0x4B564D04: "kvm_pv_eoi", 0x4B564D05: "kvm_poll_control",
    0x4B564D06: "kvm_async_pf_int", 0x4B564D07: "kvm_async_pf_ack",
}  # fmt: skip


def exit_name(isa: int, code: int) -> str:
    """Return why the guest left its processor."""
    if isa == SVM:
        return SVM_EXITS.get(code, f"svm {code:#x}")
    if isa == VMX:
        reason = code & VMX_REASON
        name = VMX_EXITS.get(reason, f"vmx {reason}")
        return f"{name}, entry failed" if code & VMX_FAILED_ENTRY else name
    return f"isa {isa} {code:#x}"


def userspace_name(reason: int) -> str:
    """Return why the kernel went back to QEMU."""
    return USERSPACE_EXITS.get(reason, f"kvm {reason}")


def msr_name(number: int, *, write: bool) -> str:
    """Return which model-specific register was read or written."""
    name = MSRS.get(number, "")
    return " ".join(filter(None, ["wr" if write else "rd", f"{number:x}", name]))
