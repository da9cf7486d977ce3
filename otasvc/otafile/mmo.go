package otafile

import (
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
)

const mmoSize = aes.BlockSize // bytes of an integrity code, and of the blocks that are hashed

// IntegrityCode is the Matyas-Meyer-Oseas hash over AES-128 that Zigbee uses (Zigbee specification, annex B):
// it starts from zeros, and each block is encrypted under the hash so far and added to it. The message is
// padded with 0x80, zeros and its length in bits as a big-endian 16-bit number; from 2^16 bits on as a 32-bit
// one and two zero bytes.
func IntegrityCode(message []byte) [16]byte {
	var hash mmoHash
	hash.advance(message)
	return hash.sum(message, isLong(len(message)))
}

// isLong reports whether a message of n bytes has its length in the long form.
func isLong(n int) bool { return n >= 1<<16/8 }

// mmoHash is the hash of the whole blocks of a message up to some offset. The zero value is at the start.
type mmoHash struct {
	hash [mmoSize]byte
	at   int
}

// advance hashes the whole blocks of the message from where the hash has come to.
func (h *mmoHash) advance(message []byte) {
	for ; len(message)-h.at >= mmoSize; h.at += mmoSize {
		h.block(message[h.at : h.at+mmoSize])
	}
}

// sum returns the hash of the whole message, whose start h has hashed already; h stays as it is. With long
// false the length is always written in 16 bits, cut off where it does not fit.
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

func (h *mmoHash) block(block []byte) {
	cipher, err := aes.NewCipher(h.hash[:])
	if err != nil {
		panic("aes: " + err.Error()) // it only minds the key's length, which is right
	}
	cipher.Encrypt(h.hash[:], block)
	subtle.XORBytes(h.hash[:], h.hash[:], block)
}
