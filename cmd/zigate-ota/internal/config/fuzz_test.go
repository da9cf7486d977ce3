package config

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzWindow(f *testing.F) {
	for _, seed := range []string{"02:00-05:00", "22:00-24:00", "23:59-00:00", "24:00-01:00", "2:00-5:00", "02:00–05:00", "-", "00:00-00:00", "+1:00-02:00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var w Window
		if w.Decode(text) != nil {
			if !w.IsZero() {
				t.Fatalf("%q is refused and sets %v", text, w)
			}
			return
		}
		if w.Start < 0 || w.Start >= 24*time.Hour || w.End < 0 || w.End > 24*time.Hour || w.Start == w.End {
			t.Fatalf("%q is %v to %v", text, w.Start, w.End)
		}
		if w.String() != text {
			t.Fatalf("%q comes back as %q", text, w)
		}
	})
}

func FuzzConcurrency(f *testing.F) {
	for _, seed := range []string{"auto", "AUTO", "1", "16", "256", "257", "0", "-1", "+4", "04", "4.0", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second Concurrency
		if first.Decode(text) != nil {
			if first.AtOnce != 0 {
				t.Fatalf("%q is refused and sets %v", text, first)
			}
			return
		}
		if err := second.Decode(first.String()); err != nil || second != first || first.AtOnce < 0 || first.AtOnce > 256 {
			t.Fatalf("%q gives %q, which gives %q, %v", text, first, second, err)
		}
	})
}

func FuzzBrokerURLs(f *testing.F) {
	for _, seed := range []string{"tcp://a", "mqtt://a:1,mqtts://[::1]", "wss://a/b?c=d", "tcp://u:p@a", "ssl://a:", "ws://a%2fb", "tcp://[fe80::1%25eth0]", "tcp://a#", "tcp://a?"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second BrokerURLs
		if first.Decode(text) != nil {
			return
		}
		for _, entry := range first {
			u, err := url.Parse(entry)
			if err != nil || u.User != nil || u.Hostname() == "" || u.Fragment != "" {
				t.Fatalf("%q gives %q: %v", text, entry, err)
			}
			if (u.Scheme == "tcp" || u.Scheme == "ssl") && (u.Port() == "" || u.Path != "" || u.RawQuery != "") {
				t.Fatalf("%q gives %q", text, entry)
			}
			if err := second.Decode(entry); err != nil || len(second) != 1 || second[0] != entry {
				t.Fatalf("%q gives %q, which gives %q, %v", text, entry, second, err)
			}
		}
	})
}

func FuzzDongleAddress(f *testing.F) {
	for _, seed := range []string{"auto", "sim", "/dev/ttyUSB0", "/dev/../x", "tcp://a", "tcp://[::1]:1", "tcp://a:0", "COM3", "tcp:///"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var first, second DongleAddress
		if first.Decode(text) != nil {
			return
		}
		if err := second.Decode(string(first)); err != nil {
			t.Fatalf("%q gives %q, which is refused: %v", text, first, err)
		}
		if diff := cmp.Diff(first, second); diff != "" {
			t.Fatalf("%q (-first +second):\n%s", text, diff)
		}
	})
}
