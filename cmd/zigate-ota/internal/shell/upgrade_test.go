package shell_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/broker"
	"github.com/zigate-ota/zigate-ota/cmd/zigate-ota/internal/shell"
)

// upgrading is a service with two devices, one of which was upgraded before.
func upgrading(t *testing.T) *service {
	t.Helper()
	s := newService(t, broker.Options{})
	s.device(kitchen, record(kitchen, "Kitchen bulb", "succeeded", "2026-11-21T10:00:00Z", 100))
	s.device(hall, record(hall, "Hall", "", "", 0))
	s.say("info", `{"devices":2,"dongle":{"connected":true}}`, true)
	return s
}

const queuedAt = "2026-11-21T16:00:00Z"

func bar(percent float64) string {
	full := int(percent * 30 / 100)
	return fmt.Sprintf("[%s%s] %5.1f %%", strings.Repeat("#", full), strings.Repeat(".", 30-full), percent)
}

// Two devices at once, one of which fails.
func TestUpgradeOfTwo(t *testing.T) {
	for _, mode := range []string{"bars", "quiet", "json"} {
		t.Run(mode, func(t *testing.T) {
			s := upgrading(t)
			args := []string{"upgrade", "Kitchen bulb", hall}
			if mode != "bars" {
				args = append(args, "--"+mode)
			}
			r := s.start(args...)
			a, b := s.request("upgrade", `{"deviceId":"Kitchen bulb"}`), s.request("upgrade", `{"deviceId":"`+hall+`"}`)
			s.answer(a, "inProgress", `,"euid":"`+kitchen+`"`)
			s.answer(b, "inProgress", `,"euid":"`+hall+`","error":"the outcome is uncertain"`)
			s.device(kitchen, record(kitchen, "Kitchen bulb", "downloading", queuedAt, 0))
			s.device(hall, record(hall, "Hall", "downloading", queuedAt, 12))
			s.device(kitchen, record(kitchen, "Kitchen bulb", "downloading", queuedAt, 50))
			s.device(hall, record(hall, "Hall", "failed", queuedAt, 12))
			s.answer(b, "failure", `,"euid":"`+hall+`","reason":"stalled","error":"it asks no more"`)
			s.device(kitchen, record(kitchen, "Kitchen bulb", "succeeded", queuedAt, 100))
			s.answer(a, "success", `,"euid":"`+kitchen+`","imageVersion":2,"oldImageVersion":2`)
			if code, problem := r.code(); code != shell.ExitFailed || problem != "1 of 2 failed" {
				t.Errorf("exit code %d, %q", code, problem)
			}
			out := r.stdout.String()
			switch mode {
			case "json":
				var got []string
				for line := range strings.Lines(out) {
					var object struct {
						EUID, Status string
						Upgrade      *struct {
							State    string
							Progress float64
						}
					}
					if err := json.Unmarshal([]byte(line), &object); err != nil {
						t.Errorf("%v: %s", err, line)
					} else if object.Upgrade != nil {
						got = append(got, fmt.Sprint(object.EUID, " ", object.Upgrade.State, " ", object.Upgrade.Progress))
					} else {
						got = append(got, object.EUID+" "+object.Status)
					}
				}
				want := []string{
					kitchen + " downloading 0", hall + " downloading 12", kitchen + " downloading 50", hall + " failed 12",
					kitchen + " succeeded 100", kitchen + " success", hall + " failure",
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			case "quiet":
				if want := "Kitchen bulb: runs 0x00000002, after 0 s\n"; out != want {
					t.Errorf("stdout %q, want %q", out, want)
				}
			default:
				want := "Kitchen bulb " + bar(0) + " downloading 10 B/s, 9 s left\n" +
					"Hall         " + bar(12) + " downloading 10 B/s, 9 s left\n" +
					"Kitchen bulb " + bar(50) + " downloading 10 B/s, 9 s left\n" +
					"Hall         " + bar(12) + " failed stalled\n" +
					"Kitchen bulb " + bar(100) + " succeeded\n" +
					"Kitchen bulb: runs 0x00000002, after 0 s\n"
				if diff := cmp.Diff(want, out); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
			wantErr := "Hall: the outcome is uncertain\nHall: it asks no more (stalled)\n"
			switch mode {
			case "quiet":
				wantErr = "Hall: it asks no more (stalled)\n"
			case "json":
				wantErr = "Hall: the outcome is uncertain\n"
			}
			if got := r.stderr.String(); got != wantErr {
				t.Errorf("stderr %q, want %q", got, wantErr)
			}
		})
	}
}

func TestUpgradeOfAll(t *testing.T) {
	s := upgrading(t)
	r := s.start("upgrade", "all")
	a := s.request("upgrade", `{"deviceId":"all"}`)
	s.answer(a, "inProgress", "")
	s.device(hall, record(hall, "Hall", "downloading", queuedAt, 12))
	s.device(kitchen, record(kitchen, "Kitchen bulb", "succeeded", "2026-11-21T10:00:00Z", 100)) // an old one
	s.answer(a, "failure", `,"results":[{"euid":"`+hall+`","state":"failed","reason":"stalled"},{"euid":"`+kitchen+`","imageTypeId":8706,"state":"succeeded","reason":null}]`)
	if code, problem := r.code(); code != shell.ExitFailed || problem != "1 of 2 upgrades did not succeed" {
		t.Errorf("exit code %d, %q", code, problem)
	}
	if got, want := r.stdout.String(), "Hall "+bar(12)+" downloading 10 B/s, 9 s left\nKitchen bulb, image type 0x2202: succeeded\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if got, want := r.stderr.String(), "Hall: failed (stalled)\n"; got != want {
		t.Errorf("stderr %q, want %q", got, want)
	}

	r = s.start("upgrade", "all")
	s.answer(s.request("upgrade", `{"deviceId":"all"}`), "success", `,"results":[]`)
	if got := r.succeeds(); got != "no device has a newer image\n" {
		t.Errorf("stdout %q", got)
	}
	r = s.start("upgrade", "all")
	s.answer(s.request("upgrade", `{"deviceId":"all"}`), "serviceNotAvailable", `,"error":"no dongle"`)
	if code, problem := r.code(); code != shell.ExitFailed || problem != "no dongle (serviceNotAvailable)" {
		t.Errorf("exit code %d, %q", code, problem)
	}
}

// --no-wait returns when the device's record has the upgrade, or the refusal is there.
func TestUpgradeWithoutWaiting(t *testing.T) {
	s := upgrading(t)
	r := s.start("upgrade", "Hall", "--no-wait", "--when", "02:00")
	a := <-s.came
	when, _ := a.keys["when"].(string)
	at, err := time.Parse(time.RFC3339, when)
	if err != nil || at.Local().Format("15:04") != "02:00" || time.Until(at) <= 0 || time.Until(at) > 25*time.Hour {
		t.Errorf("when %q: %v", when, err)
	}
	s.answer(a, "inProgress", `,"euid":"`+hall+`"`)
	s.device(hall, record(hall, "Hall", "scheduled", queuedAt, 0))
	if got := r.succeeds(); got != "Hall: queued\n" {
		t.Errorf("stdout %q", got)
	}

	r = s.start("upgrade", "Kitchen bulb", "--no-wait", "--json")
	a = s.request("upgrade", `{"deviceId":"Kitchen bulb"}`)
	s.answer(a, "inProgress", `,"euid":"`+kitchen+`"`)
	s.device(kitchen, record(kitchen, "Kitchen bulb", "fetching", queuedAt, 12)) // it may still be refused
	s.answer(a, "failure", `,"euid":"`+kitchen+`","reason":"upToDate","error":"it runs that"`)
	if code, problem := r.code(); code != shell.ExitFailed || problem != "Kitchen bulb: it runs that (upToDate)" {
		t.Errorf("exit code %d, %q", code, problem)
	}

	r = s.start("upgrade", "all", "--no-wait")
	s.answer(s.request("upgrade", `{"deviceId":"all"}`), "inProgress", "")
	if got := r.succeeds(); got != "all: queued\n" {
		t.Errorf("stdout %q", got)
	}
}

// A download that is held on the device is the end of the wait; the word to install it is waited for again.
func TestUpgradeHeld(t *testing.T) {
	t.Parallel()
	s := upgrading(t)
	r := s.start("upgrade", "Kitchen bulb", "--apply", "hold", "--quiet")
	s.answer(s.request("upgrade", `{"apply":"hold","deviceId":"Kitchen bulb"}`), "inProgress", `,"euid":"`+kitchen+`"`)
	s.device(kitchen, record(kitchen, "Kitchen bulb", "downloaded", queuedAt, 100))
	if got, want := r.succeeds(), "Kitchen bulb: downloaded and held; \"zigate-ota upgrade 'Kitchen bulb'\" installs it\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	r = s.start("upgrade", "Kitchen bulb")
	a := s.request("upgrade", `{"deviceId":"Kitchen bulb"}`)
	s.answer(a, "inProgress", `,"euid":"`+kitchen+`"`)
	s.device(kitchen, record(kitchen, "Kitchen bulb", "applying", queuedAt, 100))
	r.shows("applying", &r.stdout)
	s.answer(a, "success", `,"euid":"`+kitchen+`","imageVersion":2`)
	r.succeeds()
}

func TestUpgradeInterrupted(t *testing.T) {
	s := upgrading(t)
	r := s.start("upgrade", "Hall")
	s.answer(s.request("upgrade", `{"deviceId":"Hall"}`), "inProgress", `,"euid":"`+hall+`"`)
	s.device(hall, record(hall, "Hall", "downloading", queuedAt, 12))
	r.shows("12.0 %", &r.stdout)
	r.stop()
	code, problem := r.code()
	if want := `interrupted; the upgrade goes on; "zigate-ota devices" shows it, "zigate-ota cancel" ends it`; code != shell.ExitInterrupted || problem != want {
		t.Errorf("exit code %d, %q, want %q", code, problem, want)
	}
	select {
	case r := <-s.came:
		t.Errorf("asked for %s", r.operation)
	default:
	}
}

// The broker goes and comes back, as one does that the service brings along. What was answered
// meanwhile is in the record.
func TestUpgradeOverALostConnection(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"succeeded", "failed", "answered"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			s := upgrading(t)
			addr := s.broker.Addr().String()
			r := s.start("upgrade", "Hall")
			a := s.request("upgrade", `{"deviceId":"Hall"}`)
			s.answer(a, "inProgress", `,"euid":"`+hall+`"`)
			s.device(hall, record(hall, "Hall", "downloading", queuedAt, 12))
			// The broker may hand the request out before it acknowledges it.
			r.shows("downloading", &r.stdout)
			s.stop()
			r.shows("the connection to the broker is lost", &r.stderr)
			again := newService(t, broker.Options{Addr: addr})
			if state == "answered" {
				again.device(hall, record(hall, "Hall", "downloading", queuedAt, 40))
				r.shows("the service is back", &r.stderr)
				again.answer(a, "success", `,"euid":"`+hall+`","imageVersion":2`)
				r.succeeds()
				return
			}
			again.device(hall, record(hall, "Hall", state, queuedAt, 100))
			code, problem := r.code()
			if state == "succeeded" && code != 0 || state == "failed" && (code != shell.ExitFailed || problem != "Hall: the upgrade has ended while nobody listened (stalled)") {
				t.Errorf("exit code %d, %q", code, problem)
			}
		})
	}
}
