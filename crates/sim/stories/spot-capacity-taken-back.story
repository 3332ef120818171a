# Fargate takes the capacity below two Spot tasks back while the server is away for a moment: others take their place
seed 21
at 0s machine anna cores 4 memory 8192 fargate
at 0s machine bert cores 4 memory 8192 fargate
at 0s image web runs
at 1s register lent image web cpu 256 memory 512 fargate
at 2s service shop of lent desired 3 minimum 50 maximum 200 fargate
at 2s service spare of lent desired 3 minimum 50 maximum 200 fargate spot
at 60s network loses 200 repeats 200 delay 500ms
at 100s reclaim 2 spot tasks
at 101s kill server for 3s
at 102s kill agent anna for 5s without cache
at 130s network
expect shop runs 3 of lent:1
expect spare runs 3 of lent:1
