package upgrade

// apply notes how much of the file is there.
func (e FileProgress) apply(t *transition) {
	if t.u.stage != StageFetching {
		return
	}
	if e.Done < t.u.offset { // the download had to begin again
		t.u.published = 0
	}
	t.u.offset = e.Done
	if e.Total > 0 {
		t.u.order.Size = e.Total
	}
	t.tellProgress()
}

// apply notes which image it is, and what is to be done for it from here on.
func (e ImageAdded) apply(t *transition) {
	if t.u.stage != StageFetching {
		return
	}
	t.u.order.Image = e.Image
	t.u.order.Fetch = &e.Fetch
	t.marks.told = true
	t.marks.kept = true
}

// apply has the upgrade wait for its turn, or for its time.
func (e ImageFetched) apply(t *transition) {
	if !t.can(triggerFetched) {
		return
	}
	o := &t.u.order
	o.Image = e.Image
	o.OldVersion = e.OldVersion
	o.ToldAs = e.ToldAs
	o.Installation.HoldLimit = e.HoldLimit
	o.Fetch = nil
	t.u.offeredVersion = e.Image.ImageVersion
	t.u.offset = 0
	t.u.published = 0
	t.u.outcome = outcome{}
	if !o.DueAt.After(t.now) {
		t.move(triggerFetched)
		return
	}
	t.move(triggerFetchedEarly)
	t.u.deadlines.set(purposeDue, o.DueAt)
}

// apply ends the upgrade: it is one that was refused.
func (e Refusal) apply(t *transition) {
	if !t.can(triggerRefused) {
		return
	}
	t.unseen = e.Unseen
	t.u.order.Image = e.Image
	t.u.outcome.refused = true
	t.u.outcome.sentence = e.Why
	t.move(triggerRefused)
	t.u.outcome.reason = e.Reason
}

// endFetch notes that nothing further comes of the image. Nothing went to the device.
func (t *transition) endFetch() {
	t.u.order.Fetch = nil
	t.u.offset = 0
	if t.u.order.Missing {
		t.u.order.Size = 0
	}
	t.do(GiveUpFetch{})
}
