module tokenserver/client

go 1.26.0
