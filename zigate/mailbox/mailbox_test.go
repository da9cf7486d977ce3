package mailbox_test

import (
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zigate-ota/zigate-ota/zigate/mailbox"
)

// woken reports whether the owner would be woken now.
func woken[T any](m *mailbox.Mailbox[T]) bool {
	select {
	case <-m.Wake():
		return true
	default:
		return false
	}
}

func TestPostAndTake(t *testing.T) {
	m := mailbox.New[int]()
	if woken(m) || len(m.Take()) != 0 {
		t.Error("a new mailbox is not empty")
	}
	m.Post(1)
	m.Post(2, 3)
	if !woken(m) || woken(m) {
		t.Error("two posts do not wake once")
	}
	if diff := cmp.Diff([]int{1, 2, 3}, m.Take()); diff != "" {
		t.Error(diff)
	}
	if len(m.Take()) != 0 {
		t.Error("what was taken is there again")
	}
}

// What was taken stays as it is while others post, until the next call of Take.
func TestTakenIsNotOverwritten(t *testing.T) {
	m := mailbox.New[int]()
	for round := range 5 {
		m.Post(round, round)
		taken := m.Take()
		m.Post(-1, -1)
		if diff := cmp.Diff([]int{round, round}, taken); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
		m.Take()
	}
}

func TestSignal(t *testing.T) {
	m := mailbox.New[int]()
	m.Signal()
	if !woken(m) || len(m.Take()) != 0 {
		t.Error("a signal does not wake, or posts something")
	}
}

func TestPostUpTo(t *testing.T) {
	m := mailbox.New[byte]()
	m.PostUpTo(4, 'a', 'b')
	m.PostUpTo(4, 'c', 'd', 'e')
	if !m.PostUpTo(4, 'f') {
		t.Error("a full mailbox says that it is closed")
	}
	m.Post('g') // knows no limit
	m.PostUpTo(4, 'h')
	if got := string(m.Take()); got != "abcdg" {
		t.Errorf("took %q", got)
	}
	m.PostUpTo(0, 'i')
	if len(m.Take()) != 0 || !woken(m) {
		t.Error("without room something was kept, or nobody was woken")
	}
}

func TestClose(t *testing.T) {
	m := mailbox.New[int]()
	m.Post(1)
	if diff := cmp.Diff([]int{1}, m.Close()); diff != "" {
		t.Error(diff)
	}
	if m.Post(2) || m.PostUpTo(10, 3) {
		t.Error("a closed mailbox takes something")
	}
	if len(m.Take()) != 0 || len(m.Close()) != 0 {
		t.Error("a closed mailbox has something")
	}
}

// What was taken and is done with is not kept alive.
func TestTakenIsForgotten(t *testing.T) {
	m := mailbox.New[*int]()
	m.Post(new(int))
	first := m.Take()
	m.Take()
	if first[0] != nil {
		t.Error("the mailbox still holds what was taken two calls ago")
	}
}

func TestManyPost(t *testing.T) {
	const senders = 8
	const each = 1000
	m := mailbox.New[[2]int]()
	var posting sync.WaitGroup
	for sender := range senders {
		posting.Go(func() {
			for i := range each {
				m.Post([2]int{sender, i})
			}
		})
	}
	var got [senders][]int
	for total := 0; total < senders*each; {
		<-m.Wake()
		for _, item := range m.Take() {
			got[item[0]] = append(got[item[0]], item[1])
			total++
		}
	}
	posting.Wait()
	for sender, items := range got {
		if len(items) != each || !slices.IsSorted(items) {
			t.Errorf("of sender %d %d items came, sorted: %v", sender, len(items), slices.IsSorted(items))
		}
	}
}

func TestPostAllocs(t *testing.T) {
	m := mailbox.New[func()]()
	work := func() {}
	m.Post(work)
	m.Take()
	m.Post(work)
	m.Take()
	if n := testing.AllocsPerRun(1000, func() {
		m.Post(work)
		m.Take()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
