package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/bridge/homeassistant/schema"
	"github.com/zigate-ota/zigate-ota/otasvc/otafile"
)

// patience is how long a test waits for what it expects. It is never reached where all is well.
const patience = 90 * time.Second

// built is the program, built for the tests that start it as a process of its own.
type built struct {
	once sync.Once
	path string
	err  error
}

var builtProgram built

func TestMain(m *testing.M) {
	code := m.Run()
	if builtProgram.path != "" {
		os.RemoveAll(filepath.Dir(builtProgram.path))
	}
	os.Exit(code)
}

// programPath is the path of the program; it is built when the first test asks for it.
func programPath(t *testing.T) string {
	t.Helper()
	builtProgram.once.Do(func() {
		dir, err := os.MkdirTemp("", "zigate-ota-test-")
		if err != nil {
			builtProgram.err = err
			return
		}
		builtProgram.path = filepath.Join(dir, "zigate-ota")
		build := exec.Command("go", "build", "-race=false", "-ldflags", "-X main.version=test", "-o", builtProgram.path, ".")
		if out, err := build.CombinedOutput(); err != nil {
			builtProgram.err = fmt.Errorf("%w\n%s", err, out)
		}
	})
	if builtProgram.err != nil {
		t.Fatalf("building the program: %v", builtProgram.err)
	}
	return builtProgram.path
}

// journal is what came in, in order. Tests wait for what they expect of it instead of sleeping.
type journal[T any] struct {
	mu      sync.Mutex
	entries []T
	changed chan struct{} // closed and replaced at each entry
	see     func(T)       // called for each entry, with the lock; may be nil
}

func newJournal[T any]() *journal[T] { return &journal[T]{changed: make(chan struct{})} }

func (j *journal[T]) add(entry T) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, entry)
	if j.see != nil {
		j.see(entry)
	}
	close(j.changed)
	j.changed = make(chan struct{})
}

// all returns what has come so far, and a channel that is closed when there is more.
func (j *journal[T]) all() ([]T, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[:len(j.entries):len(j.entries)], j.changed
}

// each returns the entries so far that match.
func (j *journal[T]) each(match func(T) bool) []T {
	var found []T
	all, _ := j.all()
	for _, entry := range all {
		if match(entry) {
			found = append(found, entry)
		}
	}
	return found
}

// await returns the first entry that matches, once it is there.
func (j *journal[T]) await(t *testing.T, what string, match func(T) bool) T {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	seen := 0
	for {
		all, more := j.all()
		for _, entry := range all[seen:] {
			if match(entry) {
				return entry
			}
		}
		seen = len(all)
		select {
		case <-more:
		case <-late.C:
			last := all[max(0, len(all)-20):]
			t.Fatalf("did not come: %s; the last of %d that came: %+v", what, len(all), last)
		}
	}
}

// published is one MQTT message.
type published struct {
	Topic, Payload string
	Retained       bool
}

func (m published) String() string { return m.Topic + " " + m.Payload }

// newHeard is a journal of what a subscriber gets. Whatever is for Home Assistant in it must be as Home
// Assistant takes it; that is told at the end of the test.
func newHeard(t *testing.T) *journal[published] {
	t.Helper()
	j := newJournal[published]()
	var bad []string
	j.see = func(m published) { bad = append(bad, schema.Message(m.Topic, []byte(m.Payload))...) }
	t.Cleanup(func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, complaint := range bad {
			t.Errorf("Home Assistant: %s", complaint)
		}
	})
	return j
}

// object is the payload as JSON; nil where it is none.
func (m published) object() map[string]any { return jsonObject(m.Payload) }

func jsonObject(text string) map[string]any {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var object map[string]any
	if decoder.Decode(&object) != nil {
		return nil
	}
	return object
}

// at is what a path of keys leads to in a JSON object; nil where there is nothing.
func at(object map[string]any, path ...string) any {
	var value any = object
	for _, key := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[key]
	}
	return value
}

// number is what a path of keys leads to, as a number; -1 where there is none.
func number(object map[string]any, path ...string) float64 {
	n, ok := at(object, path...).(json.Number)
	if !ok {
		return -1
	}
	f, err := n.Float64()
	if err != nil {
		return -1
	}
	return f
}

// sameJSON compares a payload with the one that is wanted, key by key, but for those left out.
func sameJSON(t *testing.T, what, got, want string, leftOut ...string) {
	t.Helper()
	g, w := jsonObject(got), jsonObject(want)
	if w == nil {
		t.Fatalf("%s: the wanted JSON is none: %s", what, want)
	}
	for _, key := range leftOut {
		delete(g, key)
		delete(w, key)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("%s (-want +got):\n%s\n%s", what, diff, got)
	}
}

// final reports whether a response is a final one.
func (m published) final() bool { return at(m.object(), "status") != "inProgress" }

// responseTo matches the responses that carry a transaction.
func responseTo(transaction string) func(published) bool {
	return func(m published) bool {
		return strings.Contains(m.Topic, "/response/") && at(m.object(), "transaction") == transaction
	}
}

// finalTo matches the final response that carries a transaction.
func finalTo(transaction string) func(published) bool {
	is := responseTo(transaction)
	return func(m published) bool { return is(m) && m.final() }
}

// onTopic matches messages of a topic whose payload satisfies match; nil: every payload.
func onTopic(topic string, match func(map[string]any) bool) func(published) bool {
	return func(m published) bool { return m.Topic == topic && (match == nil || match(m.object())) }
}

// lines is an io.Writer that keeps a journal of the lines written to it.
type lines struct {
	*journal[string]
	each func(line string) // where set, gets them besides
	mu   sync.Mutex
	rest []byte
}

func newLines() *lines { return &lines{journal: newJournal[string]()} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.add(string(line))
		if l.each != nil {
			l.each(string(line))
		}
		l.rest = bytes.Clone(rest)
	}
}

func (l *lines) String() string {
	all, _ := l.all()
	return strings.Join(all, "\n")
}

// process is a program that runs beside the test and is killed at its end.
type process struct {
	name           string
	cmd            *exec.Cmd
	stdout, stderr *lines
	done           chan struct{}
	stop           func() // with SIGKILL, and waits until it has ended
}

// start starts a program. Its output is shown where the test fails.
func start(t *testing.T, environ []string, path string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir = environ, t.TempDir()
	return startCommand(t, cmd)
}

// startCommand is start for what needs more than an environment.
func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: filepath.Base(cmd.Path), cmd: cmd, stdout: newLines(), stderr: newLines(), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // it is killed as a rule
	}()
	p.stop = func() {
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s %q wrote:\n%s\n%s", p.name, cmd.Args[1:], p.stdout, p.stderr)
		}
	})
	return p
}

// resident is how much memory a process has, in bytes; 0 where the system does not tell.
func resident(t *testing.T, p *process) int { return memory(t, p, "VmRSS:") }

// memory is a line of what Linux says about a process's memory, in bytes: VmRSS: is what it has,
// VmHWM: the most it had.
func memory(t *testing.T, p *process, line string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), line)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kilobytes, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Errorf("memory: %v", err)
	}
	return kilobytes << 10
}

// environ is the environment of a service whose ports are free ones, whose state lies in dir, and which reads
// no index of images. What is given besides comes in the place of that.
func environ(dir string, more ...string) []string {
	for _, entry := range []string{
		"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "ZIGATE_OTA_STATE_DIR=" + filepath.Join(dir, "state"),
		"ZIGATE_OTA_BROKER_ADDR=127.0.0.1:0", "ZIGATE_OTA_HTTP_ADDR=127.0.0.1:0", "ZIGATE_OTA_IMAGE_INDEXES=none",
	} {
		name, _, _ := strings.Cut(entry, "=")
		if !slices.ContainsFunc(more, func(m string) bool { return strings.HasPrefix(m, name+"=") }) {
			more = append(more, entry)
		}
	}
	return more
}

// The bulb in the simulated kitchen, and the others of the simulated home.
const (
	kitchen      = "0x000b57fffec6a5b2"
	hall         = "0x000b57fffec6a5c7"
	plug         = "0x001788010b2c3d4e"
	sensor       = "0x00124b0022334455"
	bulbVersion  = 0x22010631 // of both bulbs as they come
	newerVersion = 0x22010731
	latestBulb   = 0x22010831
)

// bulbImage is an image for both bulbs with size bytes of firmware.
func bulbImage(version uint32, size int) []byte {
	h := otafile.Header{ManufacturerCode: 0x117C, ImageType: 0x2201, FileVersion: version, StackVersion: 2}
	copy(h.HeaderString[:], "Bulb firmware")
	return otafile.Build(h, firmware(size), otafile.WithIntegrityCode())
}

// firmware is bytes that differ wherever one looks.
func firmware(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(uint32(i+1) * 2654435761 >> 15)
	}
	return b
}

// serveFiles serves files by their name and returns the URL of the folder.
func serveFiles(t *testing.T, files map[string][]byte) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// ran runs the program in this process, as main does, until it ends.
func ran(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var out, errs lockedBuffer
	code = run(ctx, args, environ, &out, &errs)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Errorf("zigate-ota %q did not end", args)
	}
	return code, out.String(), errs.String()
}

// lockedBuffer is a buffer that several goroutines may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// awaitTick is the pause between two questions where nothing tells when the answer has changed.
func awaitTick(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(50 * time.Millisecond):
	case <-t.Context().Done():
	}
}
