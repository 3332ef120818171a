# Tasks wait for machines of their capacity provider, through a crash of the server; the last ones until others have ended
seed 31
at 0s machine anna cores 2 memory 2048
at 0s image job exits 0 after 30s
at 0s image web runs
at 1s register job image job cpu 1000 memory 64
at 1s register web image web cpu 64 memory 64
at 2s service web of web desired 2 minimum 50 maximum 200
at 3s run job count 3 scaled
at 20s kill server for 5s
at 40s run job count 4 scaled
at 60s machine sara cores 2 memory 2048 scaled
at 62s kill agent sara for 3s without cache
at 100s machine sven cores 1 memory 2048 scaled
at 110s lose sven for 20s
expect 7 tasks of job
expect 7 ran of job
expect web runs 2 of web:1
