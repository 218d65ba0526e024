"""What attackers and honest users do in a session; each returns the connection that is then tried."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address

from sessions import (
    GATEWAY,
    SECONDS,
    Machine,
    Session,
    Shot,
    client,
    cut_ports,
    high_ports,
    low_ports,
    other_client,
    other_server,
    outside_ports,
    server,
    service_ports,
)

FIN, SYN, RST, PSH, ACK, URG = (1 << bit for bit in range(6))


def announced(session: Session, port: int) -> Shot:
    shot = session.opens(port)
    session.announce(shot.target, shot.port)
    return shot


def honest(session: Session) -> Shot:
    return announced(session, next(high_ports))


def third_host(session: Session) -> Shot:
    shot = session.opens(next(high_ports))
    shot = replace(shot, target=other_client if shot.target is client else other_server)
    line = session.announcement(shot.target, shot.port)
    # RFC 2428 knows no host in the answer to EPSV, and the helper drops what it cannot read.
    if session.way.command == "EPSV":
        session.say(server, line)
        session.unheard = line
    else:
        assert session.arrives(session.announcer, [line], SECONDS)
    return shot


def low_port(session: Session) -> Shot:
    return announced(session, next(low_ports))


def outside_of_the_range(session: Session) -> Shot:
    return announced(session, next(outside_ports))


def other_mode(session: Session) -> Shot:
    return honest(session)


def stranger(session: Session) -> Shot:
    shot = honest(session)
    return replace(shot, source=other_client if shot.source is client else other_server)


def second_connection(session: Session) -> Shot:
    shot = honest(session)
    assert shot.hits(SECONDS)
    return shot


def after_the_client_quit(session: Session) -> Shot:
    shot = honest(session)
    session.close(client)
    return shot


def after_the_server_quit(session: Session) -> Shot:
    shot = honest(session)
    session.close(server)
    return shot


def after_a_reset(session: Session) -> Shot:
    shot = honest(session)
    session.close(client, reset=True)
    return shot


def after_the_servers_reset(session: Session) -> Shot:
    shot = honest(session)
    session.close(server, reset=True)
    return shot


def quoted_reply(session: Session) -> Shot:
    """The server quotes what the client said, and the quotation starts a segment."""
    shot = session.opens(next(high_ports))
    line = session.announcement(shot.target, shot.port)
    session.command(line)
    session.reply("500 unknown command: ", line)
    return shot


def quoted_line_feed(session: Session) -> Shot:
    """The server quotes a name with a line feed, and a segment ends with it."""
    shot = session.opens(next(service_ports))
    line = session.announcement(shot.target, shot.port)
    session.command(f"MKD a\n{line}")
    session.reply('257 "a\n', line)
    return shot


def request_of_another_protocol(session: Session, port: int) -> Shot:
    """A program on the client is brought to send a server a text as HTTP's, in which there is a command."""
    shot = session.opens(port)
    session.command("POST / HTTP/1.1\r\n", "Content-Length: 1000000\r\n\r\n")
    session.announce(shot.target, shot.port)
    return shot


def request_with_a_low_port(session: Session) -> Shot:
    return request_of_another_protocol(session, next(low_ports))


def request_with_the_port_of_a_service(session: Session) -> Shot:
    return request_of_another_protocol(session, next(service_ports))


def cut_number(session: Session) -> Shot:
    """The announcement is cut before the last digit of the port."""
    shot = session.opens(next(cut_ports))
    session.say(session.announcer, *re.split(r"(?=\d\D*$)", session.announcement(shot.target, shot.port)))
    if session.way.command.startswith("E"):
        return replace(shot, port=shot.port // 10)
    return replace(shot, port=shot.port // 256 * 256 + shot.port % 256 // 10)


def forged(session: Session, forger: Machine, via: str) -> Shot:
    """A neighbour of one end sends it an announcement in the other's name, through the gateway."""
    shot = session.opens(next(high_ports))
    speaker, hearer = session.announcer, session.hearer(session.announcer)
    ends = [machine.address(shot.ip_version) for machine in (speaker, hearer)]
    watcher = hearer.call("watch", ends[1])
    session.say(speaker, "NOOP\r\n")
    assert session.hears(hearer, "NOOP\r\n", SECONDS)
    arrived = hearer.call("seen", watcher, ends[0], [session.ports[speaker]])
    # Other sessions may be acknowledging something.
    port, _flags, *numbers = next(found for found in reversed(arrived) if found[1] & PSH)
    line = session.announcement(shot.target, shot.port)
    forger.call("run", f"ip route replace {ends[1]} via {via}")
    forger.call("shoot", ends[0], session.ports[speaker], ends[1], [port, port], PSH | ACK, numbers, line)
    return shot


def forged_reply(session: Session) -> Shot:
    return forged(session, other_client, GATEWAY["client"][session.way.ip_version])


def forged_command(session: Session) -> Shot:
    return forged(session, other_server, GATEWAY["server"][session.way.ip_version])


def other_helper(session: Session) -> Shot:
    """The end that is to be reached offers a file by IRC."""
    shot = session.opens(next(high_ports))
    listener = shot.source.call("listen", shot.source.address(4), 6667)
    offer = shot.target.call("connect", shot.target.address(4), 0, shot.source.address(4), 6667, SECONDS)
    shot.source.call("accept", listener)
    shot.source.call("close", listener, False)
    own = int(ip_address(shot.target.address(4)))
    shot.target.call("say", offer, f"PRIVMSG bob :\x01DCC SEND file {own} {shot.port} 100\x01\r\n")
    return shot
