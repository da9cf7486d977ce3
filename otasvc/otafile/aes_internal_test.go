package otafile

import (
	"crypto/aes"
	"math/rand/v2"
	"testing"
)

// The cipher is crypto/aes, whatever key and block.
func TestEncryptOnce(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for range 10_000 {
		var key, block, want [16]byte
		_, _ = r.Read(key[:])
		_, _ = r.Read(block[:])
		cipher, err := aes.NewCipher(key[:])
		if err != nil {
			t.Fatal(err)
		}
		cipher.Encrypt(want[:], block[:])
		if got := encryptOnce(&key, &block); got != want {
			t.Fatalf("key %x, block %x: %x, want %x", key, block, got, want)
		}
	}
}

func TestIntegrityCodeAllocatesNothing(t *testing.T) {
	message := make([]byte, 10_000)
	if n := testing.AllocsPerRun(10, func() { IntegrityCode(message) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
