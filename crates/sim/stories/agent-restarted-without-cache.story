# An agent is killed, its cache is deleted, and it finds its containers again
seed 3
at 0s machine anna cores 2 memory 2048
at 0s image web runs
at 0s image job exits 3 after 70s
at 1s register web image web cpu 128 memory 128 port 8080
at 1s register job image job cpu 128 memory 128
at 2s service web of web desired 1 minimum 0 maximum 100
at 3s run job count 2
at 50s kill agent anna for 10s without cache
# The jobs end while nobody looks.
at 65s kill agent anna for 20s without cache
expect web runs 1 of web:1
expect 2 tasks of job
