/* frame.c - lets user-mode-linux run programs on CPUs whose register frame is larger than it knows.
 *
 * User-mode-linux keeps a program's registers in a frame of fixed size, large enough for AVX-512 and protection keys.
 * It reads a shorter frame than the machine's without trouble, but the machine takes none but a whole one back
 * (ptrace(2), PTRACE_SETREGSET with NT_X86_XSTATE: EFAULT), so that the first program dies where the CPU has AMX.
 * Preloaded, this hands over the program's own whole frame with user-mode-linux's laid over its beginning. It changes
 * nothing where the sizes are the same, and nothing else that ptrace does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
  XSTATE = 0x202,        /* NT_X86_XSTATE of elf.h */
  LARGEST = 64 << 10,    /* AMX's frame has 11 KB */
  XSTATE_BV = 512,       /* where the frame says which of its parts are in use (Intel SDM vol. 1, 13.4.2) */
  SHORT_FRAME_S = 0x3ff, /* the parts up to protection keys: those that have their place in the short frame */
};

static long set_frame(long pid, const struct iovec *given) {
  static uint8_t whole[LARGEST];
  struct iovec frame = {whole, sizeof whole};
  uint64_t parts;

  if (given->iov_len < XSTATE_BV + sizeof parts ||
      syscall(SYS_ptrace, PTRACE_GETREGSET, pid, XSTATE, &frame) < 0 || given->iov_len >= frame.iov_len)
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, XSTATE, given);
  memcpy(whole, given->iov_base, given->iov_len);
  memcpy(&parts, whole + XSTATE_BV, sizeof parts);
  parts &= SHORT_FRAME_S;
  memcpy(whole + XSTATE_BV, &parts, sizeof parts);
  return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, XSTATE, &frame);
}

/* In place of libc's: its four arguments are always there on x86-64, whatever the request needs. */
long ptrace(enum __ptrace_request request, ...) {
  __builtin_va_list arguments;
  __builtin_va_start(arguments, request);
  long pid = __builtin_va_arg(arguments, int);
  void *address = __builtin_va_arg(arguments, void *);
  void *data = __builtin_va_arg(arguments, void *);
  __builtin_va_end(arguments);

  if (request == PTRACE_SETREGSET && (intptr_t)address == XSTATE) return set_frame(pid, data);
  if (request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER) {
    /* The system call puts the word where `data` points; libc's function returns it. */
    long word, rc = syscall(SYS_ptrace, request, pid, address, &word);
    if (rc < 0) return rc;
    errno = 0;
    return word;
  }
  return syscall(SYS_ptrace, request, pid, address, data);
}
