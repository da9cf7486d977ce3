package otafile

import (
	"encoding/binary"
	"math/bits"
)

// encryptOnce encrypts a block by AES-128 (FIPS 197) under a key that is used for this block only. The hash of integrity
// codes has a new key every 16 bytes; crypto/aes makes and throws away 500 bytes for each key, 30 MB for an image of 1 MB.
// Nothing here is secret, so tables may be looked up by it.
func encryptOnce(key, block *[16]byte) (encrypted [16]byte) {
	var k, s [4]uint32 // the round's key and the state, a word a column
	for i := range k {
		k[i] = binary.BigEndian.Uint32(key[4*i:])
		s[i] = binary.BigEndian.Uint32(block[4*i:]) ^ k[i]
	}
	for round := range aesRounds - 1 {
		nextRoundKey(&k, round)
		s = [4]uint32{
			mixed(s[0], s[1], s[2], s[3]) ^ k[0],
			mixed(s[1], s[2], s[3], s[0]) ^ k[1],
			mixed(s[2], s[3], s[0], s[1]) ^ k[2],
			mixed(s[3], s[0], s[1], s[2]) ^ k[3],
		}
	}
	nextRoundKey(&k, aesRounds-1)
	for i := range s {
		word := substituted(s[i], s[(i+1)%4], s[(i+2)%4], s[(i+3)%4]) ^ k[i]
		binary.BigEndian.PutUint32(encrypted[4*i:], word)
	}
	return encrypted
}

const aesRounds = 10 // of AES-128

// nextRoundKey makes the key of a round from that of the round before.
func nextRoundKey(k *[4]uint32, round int) {
	turned := bits.RotateLeft32(k[3], 8)
	k[0] ^= substituted(turned, turned, turned, turned) ^ uint32(roundConstants[round])<<24
	k[1] ^= k[0]
	k[2] ^= k[1]
	k[3] ^= k[2]
}

// substituted is a column after SubBytes and ShiftRows: of each of the four columns one byte.
func substituted(a, b, c, d uint32) uint32 {
	return uint32(sBox[a>>24])<<24 | uint32(sBox[b>>16&0xFF])<<16 | uint32(sBox[c>>8&0xFF])<<8 | uint32(sBox[d&0xFF])
}

// mixed is substituted and after MixColumns.
func mixed(a, b, c, d uint32) uint32 {
	return mixedBytes[a>>24] ^ bits.RotateLeft32(mixedBytes[b>>16&0xFF], -8) ^
		bits.RotateLeft32(mixedBytes[c>>8&0xFF], -16) ^ bits.RotateLeft32(mixedBytes[d&0xFF], -24)
}

var (
	sBox           = makeSBox()
	mixedBytes     = makeMixedBytes() // what each byte, substituted, is in the first row to a mixed column
	roundConstants = makeRoundConstants()
)

// double multiplies by x in the field of AES.
func double(b byte) byte { return b<<1 ^ b>>7*0x1B }

func makeSBox() (box [256]byte) {
	// 3 generates the field's multiplicative group: p runs through all of it, q through the inverses.
	p, q := byte(1), byte(1)
	for {
		p ^= double(p) // times 3
		q ^= q << 1    // divided by 3
		q ^= q << 2
		q ^= q << 4
		q ^= q >> 7 * 0x09
		box[p] = 0x63 ^ q ^ bits.RotateLeft8(q, 1) ^ bits.RotateLeft8(q, 2) ^ bits.RotateLeft8(q, 3) ^ bits.RotateLeft8(q, 4)
		if p == 1 {
			box[0] = 0x63
			return box
		}
	}
}

func makeMixedBytes() (table [256]uint32) {
	for i, s := range sBox {
		table[i] = uint32(double(s))<<24 | uint32(s)<<16 | uint32(s)<<8 | uint32(double(s)^s)
	}
	return table
}

func makeRoundConstants() (constants [aesRounds]byte) {
	c := byte(1)
	for i := range constants {
		constants[i] = c
		c = double(c)
	}
	return constants
}
