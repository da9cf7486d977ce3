package otafile_test

import (
	"testing"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// BenchmarkParseVerify is what it takes to take in an image of 250 KB, most of it spent on
// the integrity code.
func BenchmarkParseVerify(b *testing.B) {
	const size = 250_000
	for _, c := range []struct {
		name string
		file []byte
	}{
		{"integrity code", otafile.Build(testHeader(), pattern(size), otafile.WithIntegrityCode())},
		{"GBL", otafile.Build(testHeader(), gbl(pattern(size)))},
		{"IKEA signed", ikea(otafile.Build(testHeader(), gbl(pattern(size))))},
		{"search", join([]byte("VENDOR"), otafile.Build(testHeader(), gbl(pattern(size))))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.file)))
			b.ReportAllocs()
			for b.Loop() {
				f, err := otafile.Parse(c.file)
				if err != nil {
					b.Fatal(err)
				}
				if f.Verify(); len(f.Failed()) != 0 {
					b.Fatal(f.Failed())
				}
			}
		})
	}
}
