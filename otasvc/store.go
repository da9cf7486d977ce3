package otasvc

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/zigate-ota/zigate-ota/otasvc/library"
	"github.com/zigate-ota/zigate-ota/otasvc/registry"
	"github.com/zigate-ota/zigate-ota/otasvc/upgrade"
)

// stateVersion is the version of the state file that this program writes. It reads this one and older ones.
const stateVersion = 1

// state is the state file: all that has to outlive the process.
type state struct {
	Version   int              `json:"version"`
	Devices   []*keptDevice    `json:"devices"`
	Registry  library.Registry `json:"registry"`
	Groups    []*group         `json:"groups,omitempty"`
	NextGroup uint64           `json:"nextGroup,omitempty"`
	Network   network          `json:"network,omitzero"` // of the dongle
	Away      time.Duration    `json:"away,omitempty"`   // how long the dongle has been away
}

// keptDevice is a device in the state file.
type keptDevice struct {
	registry.Facts
	Upgrade *upgrade.Upgrade `json:"upgrade,omitempty"`
	History []PastUpgrade    `json:"history,omitempty"`
}

// store writes the state beside the old one, syncs it and renames it into place, on a goroutine of its own.
// Snapshots that come while one is being written replace each other: only the newest matters. One that says
// what is on the disk already is not written: memory cards wear out.
type store struct {
	path   string
	log    *slog.Logger
	loaded state
	aside  string // where a file that cannot be read is to go before the first write; empty: there is none
	onDisk []byte // what is known to be there

	mu      sync.Mutex
	pending []byte
	after   []func()
	closed  bool
	wake    chan struct{}
	closing chan struct{}
	failed  string    // why the last write failed; empty: it did not
	since   time.Time // when the write under way began; zero: there is none
}

// openStore reads the state. A file that cannot be understood is set aside under another name, at the first
// write at the latest: a disk that cannot be written is no reason not to start.
func openStore(path string, log *slog.Logger) (*store, error) {
	st := &store{path: path, log: log, wake: make(chan struct{}, 1), closing: make(chan struct{})}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%w; make the folder writable for the service or set ZIGATE_OTA_STATE_DIR",
			err)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		st.loaded, err = readState(data)
	}
	if err == nil {
		st.onDisk = data
		return st, nil
	}
	st.aside = fmt.Sprintf("%s.unreadable-%s", path, time.Now().UTC().Format("20060102T150405Z"))
	log.Error("the state file cannot be read; the service starts without devices and images, "+
		"and sets the file aside", "file", st.aside, "err", err)
	if err := st.setAside(); err != nil {
		log.Error("the state file cannot be set aside, so nothing is written; make the folder writable for "+
			"the service", "file", path, "err", err)
	}
	return st, nil
}

// readState reads a state file of this version or an older one.
func readState(data []byte) (state, error) {
	var st state
	if err := json.Unmarshal(data, &st); err != nil {
		return state{}, err
	}
	if st.Version < 1 || st.Version > stateVersion {
		return state{}, fmt.Errorf("it has version %d, this program reads up to %d", st.Version, stateVersion)
	}
	if slices.Contains(st.Devices, nil) || slices.Contains(st.Groups, nil) {
		return state{}, errors.New("it has an entry that is null")
	}
	return st, nil
}

// setAside makes room for a new file. It does nothing where nothing is in the way.
func (st *store) setAside() error {
	if st.aside == "" {
		return nil
	}
	if err := os.Rename(st.path, st.aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	st.aside = ""
	return nil
}

// save has a snapshot written; after is called, on any goroutine, once it or a newer one is on the disk.
func (st *store) save(snapshot []byte, after func()) {
	st.mu.Lock()
	st.pending = snapshot
	st.after = append(st.after, after)
	st.mu.Unlock()
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// saveNow has a snapshot written and waits for it.
func (st *store) saveNow(snapshot []byte) {
	done := make(chan struct{})
	st.save(snapshot, func() { close(done) })
	<-done
}

// saveRetry is how long a disk that refused a write is left alone.
const saveRetry = 5 * time.Second

// run writes until close.
func (st *store) run() {
	for {
		st.mu.Lock()
		data := st.pending
		after := st.after
		closed := st.closed
		st.pending = nil
		st.after = nil
		st.since = time.Time{}
		if data != nil {
			st.since = time.Now()
		}
		st.mu.Unlock()
		if data == nil {
			if closed {
				return
			}
			<-st.wake
			continue
		}
		err := st.write(data)
		st.report(err)
		// An answer is owed even where the disk is full: what was asked for is in force, and
		// the trouble is told.
		for _, f := range after {
			f()
		}
		if err != nil && !closed {
			st.mu.Lock()
			if st.pending == nil {
				st.pending = data
			}
			st.since = time.Time{}
			st.mu.Unlock()
			select {
			case <-time.After(saveRetry):
			case <-st.closing:
			}
		}
	}
}

func (st *store) write(data []byte) error {
	if bytes.Equal(data, st.onDisk) {
		return nil
	}
	if err := st.setAside(); err != nil {
		return err
	}
	st.onDisk = nil // from here on it may be the old or the new one
	if err := writeSynced(st.path, data); err != nil {
		return err
	}
	st.onDisk = data
	return nil
}

func (st *store) report(err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case err == nil && st.failed != "":
		st.log.Info("the state is written again")
		st.failed = ""
	case err != nil && err.Error() != st.failed:
		st.log.Error("the state cannot be written, it is tried again; what changes now is lost if the "+
			"service stops", "err", err)
		st.failed = err.Error()
	}
}

// slowDisk is how long a write may take before it is a trouble. A worn memory card takes seconds.
const slowDisk = 30 * time.Second

// health is nil, or why the state is not on the disk.
func (st *store) health() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.failed != "" {
		return errors.New("the state cannot be written: " + st.failed)
	}
	if !st.since.IsZero() && time.Since(st.since) > slowDisk {
		return fmt.Errorf("the disk has taken longer than %v to write the state", slowDisk)
	}
	return nil
}

// close writes a last snapshot and ends run.
func (st *store) close(snapshot []byte) {
	st.mu.Lock()
	st.pending = snapshot
	st.closed = true
	st.mu.Unlock()
	close(st.closing)
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// writeSynced replaces a file such that a power cut leaves the old or the new one, whole. What a power cut
// leaves beside it is overwritten the next time.
func writeSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err = f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// snapshot is the state as it is now.
func (s *Service) snapshot() []byte {
	st := state{
		Version:   stateVersion,
		Registry:  s.offers.registrations,
		NextGroup: s.upgrades.nextGroup,
		Network:   s.dongle.network,
		Away:      s.dongle.away,
	}
	for _, d := range s.home.sorted() {
		st.Devices = append(st.Devices, &keptDevice{Facts: d.Facts(), Upgrade: d.Upgrade, History: d.History})
	}
	for _, g := range s.upgrades.groups {
		st.Groups = append(st.Groups, g)
	}
	slices.SortFunc(st.Groups, func(a, b *group) int { return cmp.Compare(a.ID, b.ID) })
	data, err := json.Marshal(st)
	if err != nil {
		panic(fmt.Sprintf("otasvc: the state does not marshal: %v", err)) // all types are ours and plain
	}
	return data
}

// restore takes the state of an earlier life. Running upgrades get their images and their right to blocks
// back before the dongle is even opened: their devices may be asking at this moment.
func (s *Service) restore(st state) {
	now := s.now()
	s.offers.registrations = st.Registry
	s.upgrades.nextGroup = st.NextGroup
	s.dongle.network = st.Network
	s.dongle.away = st.Away
	for _, g := range st.Groups {
		s.upgrades.groups[g.ID] = g
	}
	for _, kept := range st.Devices {
		d := s.home.restore(*kept, now)
		s.upgrades.restore(d, now)
	}
	for _, g := range st.Groups {
		s.upgrades.finishGroup(g)
	}
	s.refreshTable()
}
