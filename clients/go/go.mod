module auditctl.example/go

go 1.19
