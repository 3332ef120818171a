# The server is killed while tasks are being run: each is made once, whatever the caller was told
seed 2
at 0s machine anna cores 2 memory 2048
at 0s image job exits 0 after 30s
at 0s image web runs
at 1s register job image job cpu 64 memory 64
at 1s register web image web cpu 64 memory 64
at 5s network delay 40ms
at 5s run job count 6
at 5020ms kill server for 2s
at 8s run web count 3
at 8030ms kill server for 1s
at 8s stop any task
expect 6 tasks of job
expect 3 tasks of web
