package broker

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// lengths returns the lengths of the packets that begin in data.
func lengths(f *frame, data []byte) ([]int, error) {
	var all []int
	err := f.follow(data, func(length int) error {
		all = append(all, length)
		return nil
	})
	return all, err
}

func TestFrame(t *testing.T) {
	long := append([]byte{0x30, 0x80, 0x01}, make([]byte, 128)...)
	tests := []struct {
		name string
		in   []byte
		want []int
		err  error
	}{
		{name: "nothing"},
		{name: "empty packets", in: []byte{0xc0, 0, 0xc0, 0}, want: []int{0, 0}},
		{name: "one byte of length", in: []byte{0x30, 3, 0, 1, 'a'}, want: []int{3}},
		{name: "two bytes of length", in: long, want: []int{128}},
		{name: "largest", in: []byte{0x30, 0xff, 0xff, 0xff, 0x7f}, want: []int{268_435_455}},
		{name: "not whole", in: []byte{0x30, 0xff}},
		{name: "too many bytes of length", in: []byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, err: errHeader},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			whole := frame{}
			got, err := lengths(&whole, tt.in)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("at once (-want +got):\n%s", diff)
			}
			var single []int
			each := frame{}
			for _, b := range tt.in {
				more, _ := lengths(&each, []byte{b})
				single = append(single, more...)
			}
			if diff := cmp.Diff(tt.want, single); diff != "" {
				t.Errorf("byte by byte (-want +got):\n%s", diff)
			}
		})
	}
}

// However the bytes are cut, the same packets are seen.
func FuzzFrame(f *testing.F) {
	f.Add([]byte{0x30, 3, 0, 1, 'a', 0xc0, 0}, 2)
	f.Add([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 3)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		cut = max(0, min(cut, len(data)))
		var whole, parts frame
		want, wantErr := lengths(&whole, data)
		got, err := lengths(&parts, data[:cut])
		if err == nil {
			var more []int
			more, err = lengths(&parts, data[cut:])
			got = append(got, more...)
		}
		if !errors.Is(err, wantErr) || !cmp.Equal(want, got) {
			t.Errorf("%v, %v, want %v, %v", got, err, want, wantErr)
		}
	})
}

// A large packet has to be there within its time, also where its beginning was read together with the packet before:
// the deadline that mochi sets after that one does not take its own away.
func TestLargePacketHasItsTime(t *testing.T) {
	large := []byte{0x30, 0xf0, 0xff, 0x0f, 0, 1, 'a'}
	for name, begun := range map[string][]byte{
		"alone":               large,
		"behind a small one":  append([]byte{0xc0, 0}, large...),
		"behind another part": append([]byte{0x30, 3, 0, 1, 'a'}, large...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				all := &allowance{left: maxReading}
				conn := newBoundedConn(server, all, slog.New(slog.DiscardHandler))
				conn.named = true
				go func() { _, _ = client.Write(begun) }()
				buffer := make([]byte, 1024)
				if n, err := conn.Read(buffer); n != len(begun) || err != nil {
					t.Fatalf("%d bytes, %v", n, err)
				}
				if name != "alone" {
					_ = conn.SetDeadline(time.Time{}) // mochi, of a client without a keep-alive
				}
				asked := time.Now()
				_, err := conn.Read(buffer)
				if took := time.Since(asked); !errors.Is(err, os.ErrDeadlineExceeded) || took != readTimeout {
					t.Errorf("after %v: %v", took, err)
				}
				_ = conn.Close()
				if all.left != maxReading {
					t.Errorf("%d bytes are not given back", maxReading-all.left)
				}
			})
		})
	}
}
