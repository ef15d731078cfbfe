package disk

import "syscall"

// SpaceOf gives the room of the file system that holds path.
func SpaceOf(path string) (Space, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return Space{}, err
	}
	size := uint64(s.Bsize) //nolint:gosec // is never negative
	return Space{Free: s.Bavail * size, Total: s.Blocks * size}, nil
}

// networked are the magic numbers of statfs(2) of file systems that other machines hold.
var networked = map[uint32]string{
	0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x517b: "SMB", 0x01021997: "9P",
	0x00c36400: "Ceph", 0x5346414f: "AFS", 0x0bd00bd0: "Lustre", 0x47504653: "GPFS",
}

// Network gives the name of the network file system that holds path, or "" for a local one.
func Network(path string) (string, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return "", err
	}
	return networked[uint32(s.Type)], nil //nolint:gosec // the magic numbers have 32 bits
}
