package otafile

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

const mmoSize = aes.BlockSize // bytes of an integrity code, and of the blocks that are hashed

// IntegrityCode returns the Matyas-Meyer-Oseas hash of a message over AES-128, as Zigbee defines it (Zigbee
// specification, annex B). The hash starts from zeros; each block is encrypted with the hash so far as the
// key, and the block itself is added (XOR). The message is padded with 0x80, zeros and its length in bits as
// a big-endian 16-bit number; from 2^16 bits on, as a 32-bit number and two zero bytes.
func IntegrityCode(message []byte) [16]byte {
	var hash mmoHash
	hash.advance(message)
	return hash.sum(message, isLong(len(message)))
}

// isLong reports whether the padding of a message of n bytes has the length in 32 bits.
func isLong(n int) bool { return n >= 1<<16/8 }

// mmoHash is the hash of the whole blocks of a message up to the offset at. The zero value is the start of a
// message.
type mmoHash struct {
	hash [mmoSize]byte
	at   int
}

// advance hashes the whole blocks of the message that are not hashed yet.
func (h *mmoHash) advance(message []byte) {
	for ; len(message)-h.at >= mmoSize; h.at += mmoSize {
		h.block(message[h.at : h.at+mmoSize])
	}
}

// sum returns the hash of the whole message, the start of which h has hashed already. It works on a copy of
// h. With long false the length is always written in 16 bits, cut off where it does not fit.
func (h mmoHash) sum(message []byte, long bool) [mmoSize]byte {
	h.advance(message)
	var tail [2 * mmoSize]byte
	n := copy(tail[:], message[h.at:])
	tail[n] = 0x80
	lengthSize := 2
	if long {
		lengthSize = 6
	}
	end := mmoSize
	if n+1+lengthSize > end {
		end = len(tail)
	}
	bits := uint64(len(message)) * 8
	if long {
		binary.BigEndian.PutUint32(tail[end-6:], uint32(bits))
	} else {
		binary.BigEndian.PutUint16(tail[end-2:], uint16(bits))
	}
	for i := 0; i < end; i += mmoSize {
		h.block(tail[i : i+mmoSize])
	}
	return h.hash
}

// block adds one block to the hash.
func (h *mmoHash) block(block []byte) {
	cipher, err := aes.NewCipher(h.hash[:])
	if err != nil {
		panic("aes: " + err.Error()) // NewCipher fails for a wrong key length only, and this one is right
	}
	cipher.Encrypt(h.hash[:], block)
	subtle.XORBytes(h.hash[:], h.hash[:], block)
}
