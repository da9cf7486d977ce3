package otafile_test

import (
	"bytes"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// costly are inputs that are made to cost as much as an input of their size can: those that Parse refuses,
// and some that it takes.
func costly(t testing.TB) []malformedCase {
	const size = 8 << 20 // half of what is fetched at most, where nobody has configured more
	cases := append(malformed(t), bombs(t)...)
	image := testImage(1000)
	zeros := make([]byte, size)
	for name, b := range map[string][]byte{
		"as many elements as are read, each with a code":   raw(testHeader(), bytes.Repeat(element(3, pattern(16)), 4096), make([]byte, size)),
		"as many elements as are read, each with firmware": raw(testHeader(), bytes.Repeat(element(0, gbl(pattern(2000))), 4096)),
		"zlib bombs":                       raw(testHeader(), repeat(20, element(0, zlibOf(t, make([]byte, 16<<20)))), zeros[:size/2]),
		"many small zlibs":                 raw(testHeader(), repeat(4096, element(0, zlibOf(t, pattern(100))))),
		"many small XZ":                    raw(testHeader(), repeat(4096, element(0, xzOf(t, pattern(100), xz.CRC32)))),
		"XZ of many chunks":                raw(testHeader(), element(0, xzOfChunks(t, 100_000))),
		"Telink's mark, often":             raw(testHeader(), element(0, join([]byte{0}, bytes.Repeat([]byte("KNLT\x00\x00\x7F\x00"), size/8)))),
		"nothing but magics":               bytes.Repeat(magic, size/4),
		"headers that are cut short":       bytes.Repeat(raw(testHeader())[:56:56], size/56),
		"magics and a header":              join(bytes.Repeat(magic, size/4), image),
		"IKEA with blocks of one byte":     ikeaBlocks(otafile.Build(testHeader(), zeros[:200_000]), 1),
		"zip in zip in zip, large":         zipOf(t, archived{"b.zip", zipOf(t, archived{"c.zip", zipOf(t, archived{"i.ota", otafile.Build(testHeader(), zeros)})})}),
		"gzipped tar with one large image": gzipOf(t, tarOf(t, archived{"i.ota", otafile.Build(testHeader(), make([]byte, 30<<20))})),
		"zip with many empty zips":         zipOf(t, repeated(5000, archived{"a.zip", zipOf(t)})...),
		"zip with many small zips":         zipOf(t, repeated(3000, archived{"a.zip", zipOf(t, archived{"i.ota", image})})...),
	} {
		cases = append(cases, malformedCase{name: name, bytes: b})
	}
	return cases
}

func repeat(n int, b []byte) []byte { return bytes.Repeat(b, n) }

// xzOfChunks returns an XZ stream of chunks that each have the decoder set up anew.
func xzOfChunks(t testing.TB, n int) []byte {
	empty := xzOf(t, nil, xz.CRC32)
	head := xzOf(t, pattern(1), xz.CRC32)
	head = head[:12+4*(int(head[12])+1)]
	return join(head, repeat(n, []byte{0xE0, 0, 0, 0, 4, 0x5D, 0, 0, 0, 0, 0}), []byte{0}, empty[12:])
}

var magic = []byte{0x1E, 0xF1, 0xEE, 0x0B}

func repeated(n int, f archived) []archived {
	all := make([]archived, n)
	for i := range all {
		all[i] = f
	}
	return all
}

// Whatever comes in, reading and verifying it allocates no more than a few times what
// containers may unpack to.
func TestHostileFilesAllocBounded(t *testing.T) {
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector takes memory and much time of its own")
	}
	const most = 3 * 32 << 20 // bytes in all; not at once, since the collector may take them back
	for _, c := range costly(t) {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if f, err := otafile.Parse(c.bytes); err == nil {
				f.Verify()
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("%d bytes were allocated for an input of %d, at most %d should be", got, len(c.bytes), uint64(most))
			} else if testing.Verbose() {
				t.Logf("%d bytes for an input of %d", got, len(c.bytes))
			}
		})
	}
}

// BenchmarkHostile is what such an input costs in time.
func BenchmarkHostile(b *testing.B) {
	for _, c := range costly(b) {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if f, err := otafile.Parse(c.bytes); err == nil {
					f.Verify()
				}
			}
		})
	}
}
