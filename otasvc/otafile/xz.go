package otafile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// The errors of an XZ stream that is not damaged, but cannot be checked here.
var (
	errXZUnsupported  = errors.New("the stream is packed in a way that is not read here")
	errUnpacksTooMuch = fmt.Errorf("unpacking it takes more than %d MiB of memory", unpackingMemory>>20)
)

const (
	xzHeader = 12 // bytes of the stream's header, and of its footer
	xzMagic  = "\xFD7zXZ\x00"

	// lzmaState is what the decoder of LZMA allocates besides its dictionary, and again for each chunk with
	// new properties, in bytes.
	lzmaState = 64 << 10
)

// isXZ reports whether data starts with the header of an XZ stream: its checksum must hold.
func isXZ(data []byte) bool {
	return len(data) >= xzHeader && bytes.HasPrefix(data, []byte(xzMagic)) &&
		crc32.ChecksumIEEE(data[6:8]) == binary.LittleEndian.Uint32(data[8:])
}

// checkXZ unpacks the XZ stream that data starts with and checks it against the stream's own checks. Firmware
// of Bouffalo Lab chips has the SHA-256 of the stream behind it, which is checked as well.
func (m *unpacking) checkXZ(data []byte) []Check {
	s := xzStream{rest: data, memory: m}
	err := s.read()
	c := Check{Name: CheckXZ, Status: Passed}
	switch {
	case errors.Is(err, errXZUnsupported) || errors.Is(err, errUnpacksTooMuch):
		return []Check{{Name: CheckXZ, Detail: err.Error()}}
	case err != nil:
		return []Check{{Name: CheckXZ, Status: Failed, Detail: err.Error()}}
	case s.sum == nil:
		c = Check{Name: CheckXZ, Detail: "the stream has no check of its content"}
	}

	stream := data[:len(data)-len(s.rest)]
	if len(s.rest) != sha256.Size {
		return []Check{c}
	}
	found := sha256.Sum256(stream)
	digest := compare(CheckBouffalo, hex.EncodeToString(s.rest), hex.EncodeToString(found[:]))
	bouffalo := bytes.HasPrefix(s.unpacked, []byte("BFNP"))
	if digest.Status == Failed && !bouffalo {
		return []Check{c} // what follows is something else
	}
	return []Check{c, digest}
}

// xzStream is an XZ stream that is being read (XZ file format 1.2).
type xzStream struct {
	rest     []byte // what has not been read yet
	memory   *unpacking
	flags    [2]byte
	sum      func([]byte) []byte // the stream's check; nil without one
	sumSize  int
	unpacked []byte // what the first block unpacks to
}

// read reads the whole stream and leaves in rest what follows it.
func (s *xzStream) read() error {
	s.flags = [2]byte(s.rest[6:8])
	s.rest = s.rest[xzHeader:]
	if err := s.chooseSum(); err != nil {
		return err
	}
	for first := true; ; first = false {
		if len(s.rest) == 0 {
			return errors.New("the stream is cut short")
		}
		if s.rest[0] == 0 {
			return s.readEnd()
		}
		unpacked, err := s.readBlock()
		if err != nil {
			return err
		}
		if first {
			s.unpacked = unpacked
		}
	}
}

// chooseSum chooses the check that the stream's flags name.
func (s *xzStream) chooseSum() error {
	switch s.flags {
	case [2]byte{0, 0}:
		return nil
	case [2]byte{0, 1}:
		s.sumSize = 4
		s.sum = func(b []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) }
	case [2]byte{0, 4}:
		s.sumSize = 8
		s.sum = func(b []byte) []byte {
			return binary.LittleEndian.AppendUint64(nil, crc64.Checksum(b, crc64.MakeTable(crc64.ECMA)))
		}
	case [2]byte{0, 10}:
		s.sumSize = sha256.Size
		s.sum = func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
	default:
		return fmt.Errorf("%w: its flags are % X", errXZUnsupported, s.flags[:])
	}
	return nil
}

// readBlock reads a block and compares its check.
func (s *xzStream) readBlock() (unpacked []byte, err error) {
	dictionary, err := s.readBlockHeader()
	if err != nil {
		return nil, err
	}
	unpacked, size, err := s.memory.lzma2(s.rest, dictionary)
	if err != nil {
		return nil, err
	}
	padded := (size + 3) &^ 3
	if len(s.rest) < padded+s.sumSize {
		return nil, errors.New("the stream is cut short")
	}
	stored := s.rest[padded:][:s.sumSize]
	s.rest = s.rest[padded+s.sumSize:]
	if s.sum != nil {
		if found := s.sum(unpacked); !bytes.Equal(stored, found) {
			return nil, fmt.Errorf("the check of a block is %x, but its content has %x", stored, found)
		}
	}
	return unpacked, nil
}

// readBlockHeader reads the header of a block and returns the size of its dictionary, in bytes.
func (s *xzStream) readBlockHeader() (dictionary int64, err error) {
	const sizesGiven = 0x40 | 0x80
	size := (int(s.rest[0]) + 1) * 4
	if len(s.rest) < size {
		return 0, errors.New("the stream is cut short")
	}
	header := s.rest[:size-4]
	stored := binary.LittleEndian.Uint32(s.rest[size-4:])
	s.rest = s.rest[size:]
	if crc32.ChecksumIEEE(header) != stored {
		return 0, errors.New("the checksum of a block's header does not match")
	}

	flags := header[1]
	header = header[2:]
	for given := flags & sizesGiven; given != 0; given &= given - 1 {
		_, n := binary.Uvarint(header)
		if n <= 0 {
			return 0, errors.New("the header of a block is malformed")
		}
		header = header[n:]
	}
	const lzma2 = 0x21 // the filter's number, then the size of its properties
	if flags&^sizesGiven != 0 || len(header) < 3 || header[0] != lzma2 || header[1] != 1 {
		return 0, fmt.Errorf("%w: it has filters besides LZMA2", errXZUnsupported)
	}
	return lzma.DecodeDictCap(header[2])
}

// readEnd reads the index and the footer.
func (s *xzStream) readEnd() error {
	index := s.rest
	at := 1
	next := func() (v uint64, ok bool) {
		v, n := binary.Uvarint(index[at:])
		at += max(0, n)
		return v, n > 0
	}
	records, ok := next()
	if !ok || records > uint64(len(index)) {
		return errors.New("the stream's index is cut short")
	}
	for range 2 * records {
		if _, ok := next(); !ok {
			return errors.New("the stream's index is cut short")
		}
	}
	at = (at + 3) &^ 3
	if len(index) < at+4+xzHeader {
		return errors.New("the stream's index is cut short")
	}
	if crc32.ChecksumIEEE(index[:at]) != binary.LittleEndian.Uint32(index[at:]) {
		return errors.New("the checksum of the stream's index does not match")
	}

	footer := index[at+4:][:xzHeader]
	if crc32.ChecksumIEEE(footer[4:10]) != binary.LittleEndian.Uint32(footer) ||
		[2]byte(footer[8:]) != s.flags || !bytes.HasSuffix(footer, []byte("YZ")) {
		return errors.New("the stream's footer does not match")
	}
	s.rest = index[at+4+xzHeader:]
	return nil
}

// lzma2 unpacks the LZMA2 data that packed starts with, and returns how many bytes of it there are.
func (m *unpacking) lzma2(packed []byte, dictionary int64) (unpacked []byte, size int, err error) {
	chunks, err := walkLZMA2(packed)
	if err != nil {
		return nil, 0, err
	}
	// A dictionary of more than what is unpacked would not be used.
	dictionary = max(lzma.MinDictCap, min(dictionary, chunks.unpacked))
	if !m.take(dictionary + chunks.unpacked + chunks.states*lzmaState) {
		return nil, 0, errUnpacksTooMuch
	}
	config := lzma.Reader2Config{DictCap: int(dictionary)}
	r, err := config.NewReader2(bytes.NewReader(packed[:chunks.size]))
	if err != nil {
		return nil, 0, fmt.Errorf("a block cannot be unpacked: %w", err)
	}
	unpacked = make([]byte, chunks.unpacked)
	if _, err := io.ReadFull(r, unpacked); err != nil {
		return nil, 0, fmt.Errorf("a block cannot be unpacked: %w", err)
	}
	return unpacked, chunks.size, nil
}

// lzma2Chunks is what the chunks of LZMA2 data announce.
type lzma2Chunks struct {
	size     int   // bytes of the data, with its end marker
	unpacked int64 // bytes
	states   int64 // how often the decoder is set up anew
}

// walkLZMA2 adds up what the chunks announce, so that it is known what unpacking costs before it begins.
func walkLZMA2(packed []byte) (chunks lzma2Chunks, err error) {
	chunks.states = 1
	at := 0
	for at < len(packed) && packed[at] != 0 {
		control := packed[at]
		header := packed[at:min(len(packed), at+6)]
		switch {
		case control == 1 || control == 2: // not packed: a size of 16 bits, and the bytes
			if len(header) < 3 {
				return chunks, errors.New("a block is cut short")
			}
			size := int(binary.BigEndian.Uint16(header[1:])) + 1
			chunks.unpacked += int64(size)
			at += 3 + size
		case control >= 0x80: // 21 bits of the unpacked size, 16 of the packed one, maybe new properties
			if len(header) < 6 {
				return chunks, errors.New("a block is cut short")
			}
			chunks.unpacked += int64(control&0x1F)<<16 + int64(binary.BigEndian.Uint16(header[1:])) + 1
			at += 5 + int(binary.BigEndian.Uint16(header[3:])) + 1
			if control >= 0xC0 {
				chunks.states++
				at++
			}
		default:
			return chunks, fmt.Errorf("a block has a chunk of the unknown kind 0x%02X", control)
		}
	}
	if at >= len(packed) {
		return chunks, errors.New("a block is cut short")
	}
	chunks.size = at + 1
	return chunks, nil
}
