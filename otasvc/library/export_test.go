package library

// Unwatched makes a folder find changes by looking only, as on network folders: a watcher's goroutine waits
// for the system, which fake time does not know of.
func (f *Folder) Unwatched() *Folder {
	f.unwatched = true
	return f
}

// Unwatched is the same for the folder of a catalog.
func (k *Catalog) Unwatched() *Catalog {
	k.folder.unwatched = true
	return k
}

// StoreDir is where the library keeps its files.
func (l *Library) StoreDir() string { return l.storeDir }
