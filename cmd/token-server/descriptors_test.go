package main

import "testing"

func TestDivideDescriptors(t *testing.T) {
	tests := []struct {
		limit   int
		durable bool
		want    descriptors
	}{
		{64, false, descriptors{connections: 37, admin: 4}},
		{64, true, descriptors{connections: 22, admin: 4, store: 16}},
		{16, true, descriptors{connections: 4, admin: 2, store: 16}},
		{1024, false, descriptors{connections: 926, admin: 16}},
		{1024, true, descriptors{connections: 670, admin: 16, store: 256}},
		{1 << 20, true, descriptors{connections: 1<<20 - 16 - 16 - 1000 - 66, admin: 16, store: 1000}},
	}
	for _, test := range tests {
		if got := divideDescriptors(test.limit, test.durable); got != test.want {
			t.Errorf("divideDescriptors(%d, %v) = %+v, want %+v", test.limit, test.durable, got, test.want)
		}
	}
}
