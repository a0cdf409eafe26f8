package jet

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"bongsu/journal"
)

// A stored record is a frame: version (1 byte), zero (1), partition (2, little endian), CRC-32C of those four bytes and the data
// (4, little endian), data. The partition is in it so that a record cannot pass for one of another partition.
const (
	frameSize    = 8
	frameVersion = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFrame = errors.New("checksum of the record does not match")

// frame puts data in a frame; the result does not share memory with data.
func frame(p journal.Partition, data []byte) []byte {
	b := make([]byte, frameSize, frameSize+len(data))
	b[0] = frameVersion
	binary.LittleEndian.PutUint16(b[2:], uint16(p))
	b = append(b, data...)
	binary.LittleEndian.PutUint32(b[4:], frameSum(b))
	return b
}

// unframe checks a frame of partition p and returns the data within, sharing memory.
func unframe(p journal.Partition, b []byte) ([]byte, error) {
	if len(b) < frameSize || b[0] != frameVersion || b[1] != 0 ||
		binary.LittleEndian.Uint16(b[2:]) != uint16(p) || binary.LittleEndian.Uint32(b[4:]) != frameSum(b) {
		return nil, errFrame
	}
	return b[frameSize:], nil
}

func frameSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[frameSize:])
}
