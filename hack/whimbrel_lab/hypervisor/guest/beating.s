# The lab's guest: a kernel of a few hundred bytes that keeps memory busy, checks it, and beats.
#
# Started by QEMU's multiboot loader in 32-bit protected mode. It fills memory from 2 MiB upwards with a pattern of its
# own for each page, then wakes a hundred times a second (timer interrupt and hlt: an idle guest costs the host nothing),
# sends one byte of a frame on the first serial port, rewrites the pages that are due and checks some others.
# guest/image.py fills in the parameters, guest/beats.py reads the frames. Assembled with GNU as, Intel syntax.
#
# QEMU's dirty log under TCG (seen in 7.2) forgets to watch the pages that it has just reported: a guest that goes on
# writing through the translations it has loses those writes, one busy migration in eight. Flushing them, as any guest
# does when it changes page tables, mends that from the next write on. Hence the rule of the main loop: after the flush,
# one single store to each page of the pattern, and the guest's own state kept in registers and stored at the very end.
    .intel_syntax noprefix
    .code32
    .text

    .set MULTIBOOT,   0x1BADB002
    .set FLAGS,       0x00010000        # the addresses below are valid: the file is a flat binary
    .set STACK,       0x90000
    .set FILLED,      0x200000          # where the pattern begins (image.py: FIRST_BYTE)
    .set MIX,         0x9E3779B1        # odd, so that every page gets another value
    .set LAST,        4092              # a page's last word holds its value, its first word value + times rewritten
    .set PM_TIMER,    0x608             # ACPI clock, 3.579545 MHz, 24 bits; it stands still while the guest is stopped
    .set AT_MOST,     89489             # 25 ms of that clock: a later wake-up loses the rest, so throttling slows us
    .set CHECKED,     64                # pages checked per beat
    .set FRAME,       12                # beats per frame (beats.py: FRAME_BEATS)
    .set SERIAL,      0x3F8
    .set CR4_PSE,     0x10              # means nothing without page tables, but QEMU flushes when it changes

# Page \index: edi = its address, eax = its value.
    .macro locate index
    mov edi, \index
    shl edi, 12
    add edi, FILLED
    lea eax, [\index + 1]
    imul eax, eax, MIX
    .endm

# esi = 1 if the word at \place is not eax.
    .macro expect place
    cmp [\place], eax
    je 1f
    mov esi, 1
1:
    .endm

    .global start
start:
    .long MULTIBOOT, FLAGS, -(MULTIBOOT + FLAGS)
    .long start, start, 0, 0, entry

# Parameters, found by their mark (image.py).
    .ascii "whimbrel"
touched:    .long 0                     # pages with a pattern
working:    .long 0                     # of these, from the first on, the ones that are rewritten in turn
pace:       .long 0                     # pages per tick of PM_TIMER, times 2^24
change:     .long 0                     # from this frame on it is `later` instead; 0: never
later:      .long 0

    .balign 8
descriptors:                            # flat code and data, marked as accessed
    .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
descriptors_at:
    .word 23
    .long descriptors
vectors:                                # only the timer's; anything else is a triple fault, seen as a restart
    .fill 0x20 * 8, 1, 0
    .word timer - start, 8, 0x8E00, 0x10
vectors_at:
    .word 0x21 * 8 - 1
    .long vectors

    .macro port number, value
    .word \number
    .byte \value
    .endm
setup:
    port 0x20, 0x11                     # both interrupt controllers: vectors 0x20 and 0x28, only the timer let through
    port 0xA0, 0x11
    port 0x21, 0x20
    port 0xA1, 0x28
    port 0x21, 4
    port 0xA1, 2
    port 0x21, 1
    port 0xA1, 1
    port 0x21, 0xFE
    port 0xA1, 0xFF
    port 0x43, 0x34                     # timer: 1193182 Hz / 11932 = 100 Hz
    port 0x40, 0x9C
    port 0x40, 0x2E
    port SERIAL + 3, 3                  # 8 bits, no parity; FIFO on, no interrupts
    port SERIAL + 1, 0
    port SERIAL + 2, 1
    .word 0

# What each beat of a frame carries: offset in `report`, bits to shift, bits to keep. Only the first has its top bit set.
fields:
    .byte 0, 0, 0xFF, 0
    .irp at, 4, 8, 12
    .byte \at, 0, 0x7F, 0,  \at, 7, 0x7F, 0,  \at, 14, 0x7F, 0
    .ifne \at - 8
    .byte \at, 21, 0x7F, 0
    .endif
    .endr

entry:
    cli
    lgdt [descriptors_at]
    ljmp 8, offset reload
reload:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, STACK
    lidt [vectors_at]

    xor ecx, ecx
fill:
    cmp ecx, [touched]
    jae filled
    locate ecx
    mov [edi], eax
    mov [edi + LAST], eax
    inc ecx
    jmp fill
filled:
    mov esi, offset setup
program:
    movzx edx, word ptr [esi]
    test edx, edx
    jz ready
    mov al, [esi + 2]
    out dx, al
    add esi, 3
    jmp program
ready:
    mov dx, PM_TIMER
    in eax, dx
    mov [last_time], eax

sleep:
    sti
    hlt
    cli
    mov al, 0x20                        # end of interrupt
    out 0x20, al

    mov ebx, [beat]                     # beat
    movzx esi, byte ptr [fields + ebx * 4]
    mov cl, [fields + ebx * 4 + 1]
    mov eax, [report + esi]
    shr eax, cl
    and al, [fields + ebx * 4 + 2]
    mov dx, SERIAL
    out dx, al

    mov eax, cr4                        # flush
    xor eax, CR4_PSE
    mov cr4, eax

    mov dx, PM_TIMER                    # pages due: ebp. New state: mm0 last_time, mm1 fraction, mm2 written
    in eax, dx
    movd mm0, eax
    sub eax, [last_time]
    and eax, 0xFFFFFF
    cmp eax, AT_MOST
    jbe elapsed
    mov eax, AT_MOST
elapsed:
    mov ecx, offset pace
    mov edx, [change]
    test edx, edx
    jz paced
    cmp [frame], edx
    jb paced
    mov ecx, offset later
paced:
    mul dword ptr [ecx]
    add eax, [fraction]
    adc edx, 0
    mov ecx, eax
    and ecx, 0xFFFFFF
    movd mm1, ecx
    shrd eax, edx, 24
    mov ebp, eax
    add eax, [written]
    movd mm2, eax

    mov ecx, [cursor]                   # rewrite, each page checked before: ecx cursor, ebx passes, esi fault
    mov ebx, [passes]
    mov esi, [fault]
rewrite:
    test ebp, ebp
    jz rewritten
    locate ecx
    expect edi+LAST
    add eax, ebx
    expect edi
    inc eax
    mov [edi], eax
    inc ecx
    cmp ecx, [working]
    jb same_pass
    inc ebx
    xor ecx, ecx
same_pass:
    dec ebp
    jmp rewrite
rewritten:

    mov ebp, CHECKED                    # check: edx checked, mm3 sweeps
    mov edx, [checked]
    movd mm3, [sweeps]
check:
    locate edx
    expect edi+LAST
    cmp edx, [working]
    jae located
    add eax, ebx
    cmp edx, ecx
    jae located
    inc eax
located:
    expect edi
    inc edx
    cmp edx, [touched]
    jb same_sweep
    movd eax, mm3
    inc eax
    movd mm3, eax
    xor edx, edx
same_sweep:
    dec ebp
    jnz check

    mov edi, [frame]                    # store the state
    mov eax, [beat]
    inc eax
    cmp eax, FRAME
    jb same_frame
    xor eax, eax
    inc edi
    mov [frame], edi
    mov [report + 4], edi
    mov ebp, esi
    or ebp, 0x80
    mov [report], ebp
    movd [report + 8], mm3
    movd [report + 12], mm2
same_frame:
    mov [beat], eax
    movd [last_time], mm0
    movd [fraction], mm1
    movd [written], mm2
    movd [sweeps], mm3
    mov [cursor], ecx
    mov [passes], ebx
    mov [fault], esi
    mov [checked], edx
    jmp sleep

timer:
    iretd

    .balign 4096                        # state, in guest memory on purpose: it must survive a migration
last_time:  .long 0
fraction:   .long 0                     # of a page, in 2^-24
cursor:     .long 0                     # next page to rewrite
passes:     .long 0                     # complete passes over the working set
checked:    .long 0                     # next page to check
beat:       .long 0                     # place in the frame
frame:      .long 0
sweeps:     .long 0                     # complete checks of all pages
written:    .long 0                     # pages rewritten
fault:      .long 0                     # 1 once any page was not as it should be
report:     .long 0x80, 0, 0, 0         # the frame being sent: 0x80 | fault, frame, sweeps, written
