#include "textflag.h"

// The digests of two nonces at once, with the SHA-256 instructions: a round
// waits for the one before it, so that two messages side by side take little
// longer than one. A message is one block: 16 bytes of nonce, then the padding,
// which is the same for all.

// kw has the round constants. In those of rounds 4 … 15 the message words, all
// padding, are added already.
DATA kw<>+0(SB)/8, $0x71374491428a2f98
DATA kw<>+8(SB)/8, $0xe9b5dba5b5c0fbcf
DATA kw<>+16(SB)/8, $0x59f111f1b956c25b
DATA kw<>+24(SB)/8, $0xab1c5ed5923f82a4
DATA kw<>+32(SB)/8, $0x12835b01d807aa98
DATA kw<>+40(SB)/8, $0x550c7dc3243185be
DATA kw<>+48(SB)/8, $0x80deb1fe72be5d74
DATA kw<>+56(SB)/8, $0xc19bf1f49bdc06a7
DATA kw<>+64(SB)/8, $0xefbe4786e49b69c1
DATA kw<>+72(SB)/8, $0x240ca1cc0fc19dc6
DATA kw<>+80(SB)/8, $0x4a7484aa2de92c6f
DATA kw<>+88(SB)/8, $0x76f988da5cb0a9dc
DATA kw<>+96(SB)/8, $0xa831c66d983e5152
DATA kw<>+104(SB)/8, $0xbf597fc7b00327c8
DATA kw<>+112(SB)/8, $0xd5a79147c6e00bf3
DATA kw<>+120(SB)/8, $0x1429296706ca6351
DATA kw<>+128(SB)/8, $0x2e1b213827b70a85
DATA kw<>+136(SB)/8, $0x53380d134d2c6dfc
DATA kw<>+144(SB)/8, $0x766a0abb650a7354
DATA kw<>+152(SB)/8, $0x92722c8581c2c92e
DATA kw<>+160(SB)/8, $0xa81a664ba2bfe8a1
DATA kw<>+168(SB)/8, $0xc76c51a3c24b8b70
DATA kw<>+176(SB)/8, $0xd6990624d192e819
DATA kw<>+184(SB)/8, $0x106aa070f40e3585
DATA kw<>+192(SB)/8, $0x1e376c0819a4c116
DATA kw<>+200(SB)/8, $0x34b0bcb52748774c
DATA kw<>+208(SB)/8, $0x4ed8aa4a391c0cb3
DATA kw<>+216(SB)/8, $0x682e6ff35b9cca4f
DATA kw<>+224(SB)/8, $0x78a5636f748f82ee
DATA kw<>+232(SB)/8, $0x8cc7020884c87814
DATA kw<>+240(SB)/8, $0xa4506ceb90befffa
DATA kw<>+248(SB)/8, $0xc67178f2bef9a3f7
GLOBL kw<>(SB), RODATA|NOPTR, $256

// padding has message words 4 … 15: a one bit, zeros, and the length in bits.
DATA padding<>+0(SB)/8, $0x0000000080000000
DATA padding<>+8(SB)/8, $0x0000000000000000
DATA padding<>+16(SB)/8, $0x0000000000000000
DATA padding<>+24(SB)/8, $0x0000000000000000
DATA padding<>+32(SB)/8, $0x0000000000000000
DATA padding<>+40(SB)/8, $0x0000008000000000
GLOBL padding<>(SB), RODATA|NOPTR, $48

// abef and cdgh have the initial hash value in the order that SHA256RNDS2 wants.
DATA abef<>+0(SB)/8, $0x510e527f9b05688c
DATA abef<>+8(SB)/8, $0x6a09e667bb67ae85
GLOBL abef<>(SB), RODATA|NOPTR, $16
DATA cdgh<>+0(SB)/8, $0x1f83d9ab5be0cd19
DATA cdgh<>+8(SB)/8, $0x3c6ef372a54ff53a
GLOBL cdgh<>(SB), RODATA|NOPTR, $16

// flip turns words around between big and little endian.
DATA flip<>+0(SB)/8, $0x0405060700010203
DATA flip<>+8(SB)/8, $0x0c0d0e0f08090a0b
GLOBL flip<>(SB), RODATA|NOPTR, $16

// START loads a nonce and the padding into four registers, and the initial state into s0 and s1.
#define START(nonce, w0, w1, w2, w3, s0, s1) \
	MOVOU  nonce, w0            \
	PSHUFB flip<>(SB), w0       \
	MOVOU  padding<>+0(SB), w1  \
	MOVOU  padding<>+16(SB), w2 \
	MOVOU  padding<>+32(SB), w3 \
	MOVOU  abef<>(SB), s0       \
	MOVOU  cdgh<>(SB), s1

// ROUNDS does four rounds. X0 has the sums of constants and message words.
#define ROUNDS(s0, s1) \
	SHA256RNDS2 X0, s0, s1    \
	PSHUFD      $0x0e, X0, X0 \
	SHA256RNDS2 X0, s1, s0

// PADDED does four rounds whose message words are padding.
#define PADDED(i, s0, s1) \
	MOVOU (i*16)(AX), X0 \
	ROUNDS(s0, s1)

// MIXED does four rounds with the message words in w.
#define MIXED(i, w, s0, s1) \
	MOVOU (i*16)(AX), X0 \
	PADDD w, X0          \
	ROUNDS(s0, s1)

// EXPANDED computes the next four message words into w0 and does their rounds.
#define EXPANDED(i, w0, w1, w2, w3, s0, s1) \
	SHA256MSG1 w1, w0     \
	MOVOA      w3, X7     \
	PALIGNR    $4, w2, X7 \
	PADDD      X7, w0     \
	SHA256MSG2 w3, w0     \
	MIXED(i, w0, s0, s1)

// FINISH adds the initial state and stores words A … D, big endian.
#define FINISH(s0, s1, digest) \
	PADDD      abef<>(SB), s0 \
	PADDD      cdgh<>(SB), s1 \
	PUNPCKHQDQ s1, s0         \
	PSHUFD     $0xb1, s0, s0  \
	PSHUFB     flip<>(SB), s0 \
	MOVOU      s0, digest

// func digestPair(nonces *[2]Nonce, digests *[2]Digest)
TEXT ·digestPair(SB), NOSPLIT, $0-16
	MOVQ nonces+0(FP), SI
	MOVQ digests+8(FP), DI
	LEAQ kw<>(SB), AX
	START(0(SI), X3, X4, X5, X6, X1, X2)
	START(16(SI), X10, X11, X12, X13, X8, X9)
	MIXED(0, X3, X1, X2)
	MIXED(0, X10, X8, X9)
	PADDED(1, X1, X2)
	PADDED(1, X8, X9)
	PADDED(2, X1, X2)
	PADDED(2, X8, X9)
	PADDED(3, X1, X2)
	PADDED(3, X8, X9)
	EXPANDED(4, X3, X4, X5, X6, X1, X2)
	EXPANDED(4, X10, X11, X12, X13, X8, X9)
	EXPANDED(5, X4, X5, X6, X3, X1, X2)
	EXPANDED(5, X11, X12, X13, X10, X8, X9)
	EXPANDED(6, X5, X6, X3, X4, X1, X2)
	EXPANDED(6, X12, X13, X10, X11, X8, X9)
	EXPANDED(7, X6, X3, X4, X5, X1, X2)
	EXPANDED(7, X13, X10, X11, X12, X8, X9)
	EXPANDED(8, X3, X4, X5, X6, X1, X2)
	EXPANDED(8, X10, X11, X12, X13, X8, X9)
	EXPANDED(9, X4, X5, X6, X3, X1, X2)
	EXPANDED(9, X11, X12, X13, X10, X8, X9)
	EXPANDED(10, X5, X6, X3, X4, X1, X2)
	EXPANDED(10, X12, X13, X10, X11, X8, X9)
	EXPANDED(11, X6, X3, X4, X5, X1, X2)
	EXPANDED(11, X13, X10, X11, X12, X8, X9)
	EXPANDED(12, X3, X4, X5, X6, X1, X2)
	EXPANDED(12, X10, X11, X12, X13, X8, X9)
	EXPANDED(13, X4, X5, X6, X3, X1, X2)
	EXPANDED(13, X11, X12, X13, X10, X8, X9)
	EXPANDED(14, X5, X6, X3, X4, X1, X2)
	EXPANDED(14, X12, X13, X10, X11, X8, X9)
	EXPANDED(15, X6, X3, X4, X5, X1, X2)
	EXPANDED(15, X13, X10, X11, X12, X8, X9)
	FINISH(X1, X2, 0(DI))
	FINISH(X8, X9, 16(DI))
	RET

// func hasSHA() bool
TEXT ·hasSHA(SB), NOSPLIT, $0-1
	MOVB  $0, ret+0(FP)
	XORL  AX, AX
	CPUID
	CMPL  AX, $7
	JLT   done
	MOVL  $1, AX
	CPUID
	MOVL  CX, SI        // bit 9: SSSE3
	MOVL  $7, AX
	XORL  CX, CX
	CPUID               // bit 29 of BX: the SHA instructions
	SHRL  $29, BX
	SHRL  $9, SI
	ANDL  SI, BX
	ANDL  $1, BX
	MOVB  BX, ret+0(FP)

done:
	RET
