package otasvc

import "time"

// keeper decides when the state is written, and who waits for that.
type keeper struct {
	store *store // nil where nothing is kept
	// snapshot is the state as it is now, in the form of the state file.
	snapshot func() []byte
	// post has a function called on the owner goroutine.
	post func(func())

	asked   uint64 // counts who has asked for the state to be written
	after   []func()
	saved   revisions
	savedAt time.Time
}

// revisions are the revisions of everything that is kept in the state file.
type revisions struct{ devices, registrations, dongle, upgrades, asked uint64 }

// saveInterval is how often the state is written when no answer waits for it. What is lost by a crash in
// between is learnt again from the devices; memory cards wear out with each write.
const saveInterval = 5 * time.Second

// whenSaved runs f once the state as it is now is on the disk: an answer must not promise what a
// power cut takes back.
func (k *keeper) whenSaved(f func()) {
	k.asked++
	k.after = append(k.after, f)
}

// save hands the state to the store where it is not the one that was handed to it last.
func (k *keeper) save(now revisions, at time.Time) {
	if now == k.saved || len(k.after) == 0 && at.Sub(k.savedAt) < saveInterval {
		return
	}
	k.saved = now
	k.savedAt = at
	done := k.takeWaiting()
	if k.store == nil {
		done()
		return
	}
	k.store.save(k.snapshot(), func() { k.post(done) })
}

// saveNow writes the state for those who wait for it, and reports whether there were any.
func (k *keeper) saveNow() bool {
	if len(k.after) == 0 {
		return false
	}
	done := k.takeWaiting()
	if k.store != nil {
		k.store.saveNow(k.snapshot())
	}
	done()
	return true
}

// takeWaiting returns a function that tells all who wait for the state to be written that it was.
func (k *keeper) takeWaiting() func() {
	waiting := k.after
	k.after = nil
	return func() {
		for _, f := range waiting {
			f()
		}
	}
}

// StoreHealth is nil, or the error says why the state cannot be written.
func (k *keeper) StoreHealth() error {
	if k.store == nil {
		return nil
	}
	return k.store.health()
}

// begin has the store write from now on; the returned function writes a last snapshot and waits for it.
func (k *keeper) begin() (end func()) {
	if k.store == nil {
		return func() {}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		k.store.run()
	}()
	return func() {
		k.store.close(k.snapshot())
		<-ended
	}
}
