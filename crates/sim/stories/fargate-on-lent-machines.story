# A Fargate service runs on lent machines; one of them loses its power in the middle of a linear deployment
seed 14
at 0s machine anna cores 2 memory 2048
at 0s machine fred cores 4 memory 8192 fargate
at 0s machine gina cores 4 memory 8192 fargate
at 0s image web runs
at 0s image log runs
at 1s register log image log cpu 64 memory 64
at 1s register web image web cpu 256 memory 512 fargate
at 2s service web of web desired 2 minimum 100 maximum 200 fargate linear 50 every 60s bake 60s
at 2s daemon log of log
at 3s run web count 1 fargate
at 300s register web image web cpu 256 memory 512 fargate
at 300s update web to web:2
at 360s lose gina for 60s
at 380s kill agent fred for 5s without cache
expect web runs 2 of web:2
# Nobody sees the lent machines.
expect log runs 1 of log:1
expect 1 tasks of web
