# The lab's guest: a kernel of a few hundred bytes that keeps memory busy, checks it, and beats.
#
# Started by QEMU's multiboot loader in 32-bit protected mode. It fills memory from 2 MiB upwards with a pattern of its
# own for each page, then wakes a hundred times a second (timer interrupt and hlt: an idle guest costs the host nothing),
# sends one byte of a frame on the first serial port, rewrites the pages that are due and checks some others.
# guest/image.py fills in the parameters, guest/beats.py reads the frames. Assembled with GNU as, Intel syntax.
    .intel_syntax noprefix
    .code32
    .text

    .set MULTIBOOT,   0x1BADB002
    .set FLAGS,       0x00010000        # the addresses below are valid: the file is a flat binary
    .set FILLED,      0x200000          # where the pattern begins (image.py: FIRST_BYTE)
    .set MIX,         0x9E3779B1        # odd, so that every page gets another value
    .set LAST,        4092              # the pattern is the first and the last word of a page
    .set PM_TIMER,    0x608             # ACPI clock, 3.579545 MHz, 24 bits; it stands still while the guest is stopped
    .set AT_MOST,     89489             # 25 ms of that clock: later wake-ups lose the rest (a throttled guest is slower)
    .set CHECKED,     64                # pages checked per beat
    .set FRAME,       12                # beats per frame (beats.py: FRAME_BEATS)
    .set SERIAL,      0x3F8

    .global start
start:
    .long MULTIBOOT, FLAGS, -(MULTIBOOT + FLAGS)
    .long start, start, 0, 0, entry

# Parameters, found by their mark (image.py).
    .ascii "whimbrel"
touched:    .long 0                     # pages with a pattern
working:    .long 0                     # of these, from the first on, the ones that are rewritten in turn
pace:       .long 0                     # pages per tick of PM_TIMER, times 2^24

    .balign 8
descriptors:                            # flat code and data
    .quad 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF
descriptors_at:
    .word 23
    .long descriptors
vectors:                                # only the timer's; anything else is a triple fault, seen as a restart
    .fill 0x20 * 8, 1, 0
    .word timer - start, 8, 0x8E00, 0x10
vectors_at:
    .word 0x21 * 8 - 1
    .long vectors

# State, in guest memory on purpose: it must survive a migration.
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
sent:       .fill 4, 4, 0               # the frame being sent: fault, frame, sweeps, written

entry:
    cli
    lgdt [descriptors_at]
    ljmp 8, offset reload
reload:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x90000
    lidt [vectors_at]

    xor ecx, ecx                        # fill
fill:
    cmp ecx, [touched]
    jae filled
    call locate
    mov [edi], eax
    mov [edi + LAST], eax
    inc ecx
    jmp fill
filled:
    mov esi, offset setup               # port, value; ends with port 0
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
    call send
    call rewrite
    call check
    jmp sleep

timer:
    push eax
    mov al, 0x20
    out 0x20, al
    pop eax
    iretd

# Page ecx: edi = its address, eax = what it should hold.
locate:
    mov edi, ecx
    shl edi, 12
    add edi, FILLED
    lea eax, [ecx + 1]
    imul eax, eax, MIX
    cmp ecx, [working]
    jae located
    add eax, [passes]
    cmp ecx, [cursor]
    jae located
    inc eax
located:
    ret

# Compare page at edi with eax.
compare:
    cmp [edi], eax
    jne wrong
    cmp [edi + LAST], eax
    jne wrong
    ret
wrong:
    mov dword ptr [fault], 1
    ret

# Rewrite the pages that became due since the last time, each checked before.
rewrite:
    mov dx, PM_TIMER
    in eax, dx
    mov ebx, eax
    sub eax, [last_time]
    mov [last_time], ebx
    and eax, 0xFFFFFF
    cmp eax, AT_MOST
    jbe elapsed
    mov eax, AT_MOST
elapsed:
    mul dword ptr [pace]
    add eax, [fraction]
    adc edx, 0
    mov ecx, eax
    and ecx, 0xFFFFFF
    mov [fraction], ecx
    shrd eax, edx, 24
    mov ebp, eax
    add [written], eax
    mov ecx, [cursor]
rewriting:
    test ebp, ebp
    jz rewritten
    call locate
    call compare
    inc eax
    mov [edi], eax
    mov [edi + LAST], eax
    inc ecx
    cmp ecx, [working]
    jb same_pass
    inc dword ptr [passes]
    xor ecx, ecx
same_pass:
    mov [cursor], ecx
    dec ebp
    jmp rewriting
rewritten:
    ret

check:
    mov ebp, CHECKED
    mov ecx, [checked]
checking:
    call locate
    call compare
    inc ecx
    cmp ecx, [touched]
    jb same_sweep
    inc dword ptr [sweeps]
    xor ecx, ecx
same_sweep:
    dec ebp
    jnz checking
    mov [checked], ecx
    ret

# One byte per beat: 0x80 | fault, then 7 bits at a time frame (4 bytes), sweeps (3), written (4).
send:
    mov ecx, [beat]
    test ecx, ecx
    jnz within
    mov eax, [fault]
    mov [sent], eax
    mov eax, [frame]
    mov [sent + 4], eax
    mov eax, [sweeps]
    mov [sent + 8], eax
    mov eax, [written]
    mov [sent + 12], eax
    mov eax, [sent]
    or al, 0x80
    jmp transmit
within:
    mov esi, offset sent + 4
    cmp ecx, 5
    jb field
    mov esi, offset sent + 8
    cmp ecx, 8
    jb field
    mov esi, offset sent + 12
field:
    mov eax, [esi]
    shr dword ptr [esi], 7
    and al, 0x7F
transmit:
    mov dx, SERIAL
    out dx, al
    inc ecx
    cmp ecx, FRAME
    jb same_frame
    xor ecx, ecx
    inc dword ptr [frame]
same_frame:
    mov [beat], ecx
    ret

setup:
    .macro port number, value
    .word \number
    .byte \value
    .endm
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
