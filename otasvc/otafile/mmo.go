package otafile

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

const (
	mmoSize       = 16 // bytes of an integrity code
	elementHeader = 6  // tag and length
)

// IntegrityCode is the Matyas-Meyer-Oseas hash over AES-128 that Zigbee uses (Zigbee specification, annex B): it starts
// from zeros, and each block is encrypted under the hash so far and added to it. The message is padded with 0x80, zeros
// and its length in bits as a big-endian 16-bit number; from 2^16 bits on with a 32-bit length and two zero bytes.
func IntegrityCode(message []byte) [16]byte {
	return mmo(message, len(message)*8 >= 1<<16)
}

// mmo hashes the message. With long false the length is always written in 16 bits, cut off where it does not fit: what
// some vendors' tools do.
func mmo(message []byte, long bool) [16]byte {
	var hash [16]byte
	whole := len(message) &^ 15
	for i := 0; i < whole; i += 16 {
		mmoBlock(&hash, message[i:i+16])
	}
	var tail [32]byte
	n := copy(tail[:], message[whole:])
	tail[n] = 0x80
	bits := uint64(len(message)) * 8
	trailer := 2
	if long {
		trailer = 6
	}
	end := 16
	if n+1+trailer > end {
		end = 32
	}
	if long {
		binary.BigEndian.PutUint32(tail[end-6:], uint32(bits))
	} else {
		binary.BigEndian.PutUint16(tail[end-2:], uint16(bits))
	}
	for i := 0; i < end; i += 16 {
		mmoBlock(&hash, tail[i:i+16])
	}
	return hash
}

func mmoBlock(hash *[16]byte, block []byte) {
	cipher, err := aes.NewCipher(hash[:])
	if err != nil {
		panic(err) // the key is always 16 bytes
	}
	cipher.Encrypt(hash[:], block)
	subtle.XORBytes(hash[:], hash[:], block)
}
