package library_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
)

const (
	lamp  = "0x00158d0001020304"
	lamp2 = "0x00158d0001020305"
	plug  = "0x00158d00010203ff"
)

// registration is of driver version 7, manufacturer 0x1234, image type 1, image version 100.
func registration(driver string, change ...func(r *library.Registration)) library.Registration {
	r := library.Registration{
		DriverTypeID: driver, DriverVersion: 7, ManufacturerCode: 0x1234, ImageType: 1, ImageVersion: 100,
		SHA256: strings.Repeat("a", 64), Size: 5000, URL: "https://example.com/a.ota",
		AddedAt: time.Date(2026, 11, 21, 16, 0, 0, 0, time.UTC),
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func image(version uint32, sha256 string) func(r *library.Registration) {
	return func(r *library.Registration) { r.ImageVersion, r.SHA256 = version, strings.Repeat(sha256, 64) }
}

func driverVersion(v uint32) func(r *library.Registration) {
	return func(r *library.Registration) { r.DriverVersion = v }
}

func of(r library.Registration, devices ...string) library.Registration {
	r.Devices = devices
	return r
}

type added struct {
	device   string
	r        library.Registration
	changed  bool
	replaced *library.Registration
	err      error
}

func TestRegistryAdd(t *testing.T) {
	a := registration("A.c4z")
	newer := registration("A.c4z", image(101, "b"))
	alone := registration("")
	otherType := registration("A.c4z", func(r *library.Registration) { r.ImageType = 2 })
	otherManufacturer := registration("A.c4z", func(r *library.Registration) { r.ManufacturerCode = 0x1111 })
	moved := registration("A.c4z", func(r *library.Registration) { r.URL = "https://example.com/b.ota" })
	later := registration("A.c4z", func(r *library.Registration) { r.AddedAt = r.AddedAt.Add(time.Hour) })
	withDevices := of(registration("A.c4z"), "whatever", "is", "here")

	for _, c := range []struct {
		name string
		add  []added
		all  []library.Registration
	}{
		{"first", []added{{lamp, a, true, nil, nil}}, []library.Registration{of(a, lamp)}},
		{"devices given are ignored", []added{{lamp, withDevices, true, nil, nil}}, []library.Registration{of(a, lamp)}},
		{"the same again", []added{{lamp, a, true, nil, nil}, {lamp, a, false, nil, nil}}, []library.Registration{of(a, lamp)}},
		{"the same again, later", []added{{lamp, a, true, nil, nil}, {lamp, later, false, nil, nil}}, []library.Registration{of(a, lamp)}},
		{"another device joins", []added{{lamp2, a, true, nil, nil}, {lamp, a, true, nil, nil}, {lamp, a, false, nil, nil}}, []library.Registration{of(a, lamp, lamp2)}},
		{"a newer image replaces it for all devices", []added{{lamp, a, true, nil, nil}, {lamp2, a, true, nil, nil}, {lamp, newer, true, ptr(of(a, lamp, lamp2)), nil}},
			[]library.Registration{of(newer, lamp, lamp2)}},
		{"a device that joins with a newer image replaces it, too", []added{{lamp, a, true, nil, nil}, {lamp2, newer, true, ptr(of(a, lamp)), nil}},
			[]library.Registration{of(newer, lamp, lamp2)}},
		{"an older image replaces it as well", []added{{lamp, newer, true, nil, nil}, {lamp, a, true, ptr(of(newer, lamp)), nil}}, []library.Registration{of(a, lamp)}},
		{"the same version, other bytes", []added{{lamp, a, true, nil, nil}, {lamp, registration("A.c4z", image(100, "c")), true, ptr(of(a, lamp)), nil}},
			[]library.Registration{of(registration("A.c4z", image(100, "c")), lamp)}},
		{"another URL", []added{{lamp, a, true, nil, nil}, {lamp, moved, true, ptr(of(a, lamp)), nil}}, []library.Registration{of(moved, lamp)}},
		{"higher driver version", []added{{lamp, a, true, nil, nil}, {lamp, registration("A.c4z", driverVersion(8)), true, ptr(of(a, lamp)), nil}},
			[]library.Registration{of(registration("A.c4z", driverVersion(8)), lamp)}},
		{"lower driver version", []added{{lamp, a, true, nil, nil}, {lamp, registration("A.c4z", driverVersion(6)), false, nil, library.ErrIncompatibleDriverVersion}},
			[]library.Registration{of(a, lamp)}},
		{"lower driver version, newer image, another device", []added{{lamp, a, true, nil, nil},
			{lamp2, registration("A.c4z", driverVersion(6), image(101, "b")), false, nil, library.ErrIncompatibleDriverVersion}},
			[]library.Registration{of(a, lamp)}},
		{"lower version of another driver", []added{{lamp, a, true, nil, nil}, {lamp2, registration("B.c4z", driverVersion(6)), true, nil, nil}},
			[]library.Registration{of(a, lamp), of(registration("B.c4z", driverVersion(6)), lamp2)}},
		{"another image type", []added{{lamp, otherType, true, nil, nil}, {lamp, a, true, nil, nil}}, []library.Registration{of(a, lamp), of(otherType, lamp)}},
		{"another manufacturer", []added{{lamp, a, true, nil, nil}, {lamp, otherManufacturer, true, nil, nil}}, []library.Registration{of(otherManufacturer, lamp), of(a, lamp)}},
		{"without a driver, each device has its own", []added{{lamp, alone, true, nil, nil}, {lamp2, alone, true, nil, nil}, {lamp, alone, false, nil, nil}},
			[]library.Registration{of(alone, lamp), of(alone, lamp2)}},
		{"without a driver, replaced for the device only", []added{{lamp, alone, true, nil, nil}, {lamp2, alone, true, nil, nil},
			{lamp2, registration("", image(101, "b")), true, ptr(of(alone, lamp2)), nil}},
			[]library.Registration{of(alone, lamp), of(registration("", image(101, "b")), lamp2)}},
		{"without a driver, lower driver version", []added{{lamp, alone, true, nil, nil}, {lamp, registration("", driverVersion(6)), false, nil, library.ErrIncompatibleDriverVersion},
			{lamp2, registration("", driverVersion(6)), true, nil, nil}},
			[]library.Registration{of(alone, lamp), of(registration("", driverVersion(6)), lamp2)}},
		{"with and without a driver", []added{{lamp, a, true, nil, nil}, {lamp, alone, true, nil, nil}}, []library.Registration{of(alone, lamp), of(a, lamp)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var registry library.Registry
			for i, step := range c.add {
				changed, replaced, err := registry.Add(step.device, step.r)
				if changed != step.changed || !errors.Is(err, step.err) || (err == nil) != (step.err == nil) {
					t.Errorf("step %d: changed %v, error %v", i+1, changed, err)
				}
				if d := cmp.Diff(step.replaced, replaced); d != "" {
					t.Errorf("step %d: replaced (-want +got):\n%s", i+1, d)
				}
			}
			if d := cmp.Diff(c.all, registry.All()); d != "" {
				t.Errorf("registrations (-want +got):\n%s", d)
			}

			b, err := json.Marshal(registry)
			if err != nil {
				t.Fatal(err)
			}
			var back library.Registry
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(registry.All(), back.All()); d != "" {
				t.Errorf("after a round trip (-want +got):\n%s", d)
			}
			if d := cmp.Diff(registry.For(lamp), back.For(lamp)); d != "" {
				t.Errorf("order after a round trip (-want +got):\n%s", d)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func mustAdd(t *testing.T, r *library.Registry, device string, add library.Registration) {
	t.Helper()
	if _, _, err := r.Add(device, add); err != nil {
		t.Fatal(err)
	}
}

func TestRegistryErrorTellsBothVersions(t *testing.T) {
	var registry library.Registry
	mustAdd(t, &registry, lamp, registration("A.c4z"))
	_, _, err := registry.Add(lamp, registration("A.c4z", driverVersion(3)))
	for _, part := range []string{"driver version 7", "this one is 3", `"A.c4z"`, "0x1234"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

func TestRegistryRemove(t *testing.T) {
	a, b, alone := registration("A.c4z"), registration("B.c4z"), registration("")
	var registry library.Registry
	mustAdd(t, &registry, lamp, a)
	mustAdd(t, &registry, lamp2, a)
	mustAdd(t, &registry, lamp, b)
	mustAdd(t, &registry, plug, alone)

	if _, ok := registry.Remove(plug, 2); ok {
		t.Error("an image type that is not registered was removed")
	}
	if _, ok := registry.Remove("0x0000000000000000", 1); ok {
		t.Error("something was removed for a device that has nothing")
	}
	if d := cmp.Diff([]library.Registration{of(b, lamp), of(a, lamp, lamp2)}, registry.For(lamp)); d != "" {
		t.Errorf("For (-want +got):\n%s", d)
	}
	for i, want := range []library.Registration{of(b, lamp), of(a, lamp, lamp2)} {
		got, ok := registry.Remove(lamp, 1)
		if d := cmp.Diff(want, got); !ok || d != "" {
			t.Errorf("removal %d: %v (-want +got):\n%s", i+1, ok, d)
		}
	}
	if got := registry.For(lamp2); len(got) != 0 {
		t.Errorf("the device that shared a removed image still has %v", got)
	}
	if d := cmp.Diff([]library.Registration{of(alone, plug)}, registry.All()); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

func TestRegistryForget(t *testing.T) {
	a, alone := registration("A.c4z"), registration("")
	var registry library.Registry
	mustAdd(t, &registry, lamp, a)
	mustAdd(t, &registry, lamp2, a)
	mustAdd(t, &registry, lamp, alone)
	removed, changed := registry.Forget(lamp)
	if d := cmp.Diff([]library.Registration{of(alone, lamp)}, removed); d != "" || !changed {
		t.Errorf("changed %v, removed (-want +got):\n%s", changed, d)
	}
	if d := cmp.Diff([]library.Registration{of(a, lamp2)}, registry.All()); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	if removed, changed := registry.Forget(lamp); removed != nil || changed {
		t.Errorf("a second time: changed %v, removed %v", changed, removed)
	}
}

// A device that shares all its images leaves no registration behind to remove, but the registry changes.
func TestRegistryForgetsOneOfSeveral(t *testing.T) {
	shared := registration("A.c4z")
	var registry library.Registry
	mustAdd(t, &registry, lamp, shared)
	mustAdd(t, &registry, lamp2, shared)
	if removed, changed := registry.Forget(lamp); removed != nil || !changed {
		t.Errorf("changed %v, removed %v; want a change and nothing removed", changed, removed)
	}
	if d := cmp.Diff([]library.Registration{of(shared, lamp2)}, registry.All()); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// What the registry hands out can be changed without changing the registry.
func TestRegistryHandsOutCopies(t *testing.T) {
	var registry library.Registry
	mustAdd(t, &registry, lamp, registration("A.c4z"))
	registry.All()[0].Devices[0] = "changed"
	registry.For(lamp)[0].Devices[0] = "changed"
	all := registry.All()
	mustAdd(t, &registry, "0x0000000000000001", registration("A.c4z"))
	if d := cmp.Diff([]library.Registration{of(registration("A.c4z"), lamp)}, all); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestRegistryJSON(t *testing.T) {
	var empty library.Registry
	b, err := json.Marshal(struct{ Images library.Registry }{empty})
	if err != nil || string(b) != `{"Images":[]}` {
		t.Errorf("got %s, %v", b, err)
	}
	var registry library.Registry
	mustAdd(t, &registry, lamp, registration("A.c4z"))
	b, err = json.Marshal(&registry)
	want := `[{"driverTypeId":"A.c4z","driverVersion":7,"mfgId":4660,"imageTypeId":1,"imageVersion":100,"sha256":"` + strings.Repeat("a", 64) +
		`","size":5000,"url":"https://example.com/a.ota","devices":["` + lamp + `"],"addedAt":"2026-11-21T16:00:00Z"}]`
	if err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}

	for _, c := range []struct{ name, json, says string }{
		{"no array", `{}`, "registered images"},
		{"no device", `[{"driverTypeId":"A"}]`, "number 1: it has no device"},
		{"two devices without a driver type", `[{"devices":["a","b"]}]`, "number 1: it has no driver type but 2 devices"},
		{"twice", `[{"devices":["a"]},{"devices":["b"]},{"devices":["a"],"imageVersion":5}]`, "number 3: there is one for the same image already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			registry := registry
			if err := json.Unmarshal([]byte(c.json), &registry); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want it to say %q", err, c.says)
			}
			if len(registry.All()) != 1 {
				t.Error("the registry was changed")
			}
		})
	}
	var sorted library.Registry
	if err := json.Unmarshal([]byte(`[{"driverTypeId":"A","devices":["b","a","b"]}]`), &sorted); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a", "b"}, sorted.All()[0].Devices); d != "" {
		t.Errorf("devices (-want +got):\n%s", d)
	}
}

// FuzzRegistry holds that a registry that was read is written so that it reads the same again, and that its
// places are taken once.
func FuzzRegistry(f *testing.F) {
	for _, seed := range []string{`[]`, `null`, `{}`, `[{"driverTypeId":"A"}]`, `[{"devices":["a","b"]}]`, `[{"devices":["a"]},{"devices":["a"]}]`,
		`[{"driverTypeId":"A","driverVersion":7,"mfgId":4660,"imageTypeId":1,"imageVersion":100,"sha256":"aa","size":5,"url":"u","devices":["b","a","b"],"addedAt":"2026-11-21T16:00:00Z"}]`,
		`[{"driverTypeId":"A","devices":["a"]},{"devices":["a"]},{"imageTypeId":1,"devices":["a"]}]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var registry, back library.Registry
		if json.Unmarshal(b, &registry) != nil {
			return
		}
		written, err := json.Marshal(registry)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(written, &back); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if d := cmp.Diff(registry.All(), back.All()); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		for _, r := range registry.All() {
			if changed, _, err := registry.Add(r.Devices[0], r); changed || err != nil {
				t.Fatalf("adding %+v again: changed %v, %v", r, changed, err)
			}
		}
	})
}
