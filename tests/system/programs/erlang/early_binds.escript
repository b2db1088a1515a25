#!/usr/bin/env escript
%% Connects with {ip, SOURCE}, for which inet binds and asks for the port: SOURCE EACH PORT...
%% Holds EACH connections to every PORT of 127.0.0.1, and says how many there are. They end with a
%% reset: a TIME-WAIT on a port of one's own keeps it from all destinations.

main([Source, Each | Ports]) ->
    {ok, Address} = inet:parse_address(Source),
    Wanted = [list_to_integer(Port) || _ <- lists:seq(1, list_to_integer(Each)), Port <- Ports],
    Open = lists:foldl(fun(Port, Sockets) -> connect(Address, Port) ++ Sockets end, [], Wanted),
    io:format("connected ~b of ~b~n", [length(Open), length(Wanted)]),
    [gen_tcp:close(Socket) || Socket <- Open].

connect(Address, Port) ->
    case gen_tcp:connect({127, 0, 0, 1}, Port, [{ip, Address}, {linger, {true, 0}}, {active, false}]) of
        {ok, Socket} ->
            {ok, {Address, _}} = inet:sockname(Socket),
            [Socket];
        {error, _} ->
            []
    end.
