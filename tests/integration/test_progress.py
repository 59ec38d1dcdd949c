"""The progress display as a person and as a log file see it: real ansible-playbook runs in a pseudo terminal and in a pipe."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import textwrap
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
SECRET = "hunter2-in-the-clear"  # noqa: S105  # of no account: the tests look for it in the output

FILES = {
    "inventory": """
        [web]
        web1
        web2
        [gone]
        gone1 ansible_connection=ssh ansible_host=127.0.0.1 ansible_port=1 ansible_ssh_common_args="-o BatchMode=yes -o ConnectTimeout=5"
        [all:vars]
        ansible_connection=local
        """,
    "site.yml": """
        ---
        - name: Web servers
          hosts: web
          gather_facts: false
          pre_tasks:
            - name: Wait for a second
              ansible.builtin.pause: {seconds: 1}
          roles: [shop]
        - name: Looped
          hosts: web
          gather_facts: false
          tasks:
            - name: Include a role twice
              ansible.builtin.include_role: {name: "{{ item }}"}
              loop: [stock, stock]
        - name: Free for all
          hosts: web
          strategy: free
          gather_facts: false
          roles: [stock, till]
        - name: Nobody
          hosts: nobody
          gather_facts: false
        """,
    "small.yml": """
        ---
        - name: Small
          hosts: web1
          gather_facts: false
          roles: [disk, till]
        """,
    "roles/disk/tasks/main.yml": """
        ---
        - name: configure | Write a file
          ansible.builtin.copy: {content: "new\\n", dest: "{{ playbook_dir }}/small", mode: "0644"}
        """,
    "slow.yml": """
        ---
        - name: Slow
          hosts: web1
          gather_facts: false
          roles: [nap]
        """,
    "roles/nap/tasks/main.yml": """
        ---
        - name: sleep | Sleep
          ansible.builtin.command: sleep 2
          changed_when: false
        """,
    "bad.yml": """
        ---
        - name: Bad
          hosts: web:gone
          gather_facts: false
          roles: [broken]
        """,
    "roles/shop/tasks/main.yml": """
        ---
        - name: install | Take a while
          ansible.builtin.command: sleep {{ nap | default(0) }}
          changed_when: inventory_hostname == 'web1'
        - name: install | Say something
          ansible.builtin.debug: {msg: "first line\\nsecond line"}
          run_once: true
        - name: configure | Write a file
          ansible.builtin.copy: {content: "new\\n", dest: "{{ playbook_dir }}/written", mode: "0644"}
          delegate_to: web1
          run_once: true
          notify: Reload
        - name: configure | Nothing happens
          ansible.builtin.command: "true"
          changed_when: false
        - name: try | Block
          block:
            - name: try | Fail and be rescued
              ansible.builtin.command: "false"
          rescue:
            - name: try | Rescue
              ansible.builtin.command: "true"
              changed_when: false
        - name: secret | Fail in the dark
          ansible.builtin.command: sh -c 'echo SECRET; exit 1'
          no_log: true
          ignore_errors: true
        - name: secret | Loop in the dark
          ansible.builtin.command: sh -c 'echo {{ item }}; exit 1'
          loop: ["SECRET"]
          no_log: true
          ignore_errors: true
        - name: count | Count
          ansible.builtin.set_stats: {data: {releases: 1}}
          run_once: true
        """,
    "roles/shop/handlers/main.yml": """
        ---
        - name: Reload
          ansible.builtin.command: "true"
        """,
    "roles/stock/tasks/main.yml": """
        ---
        - name: install | Install
          ansible.builtin.command: "true"
          changed_when: false
        """,
    "roles/till/tasks/main.yml": """
        ---
        - name: install | Change
          ansible.builtin.command: "true"
        """,
    "roles/broken/tasks/main.yml": """
        ---
        - name: check | Fail with words
          ansible.builtin.command: sh -c 'echo line one >&2; echo "  line two" >&2; exit 7'
          when: inventory_hostname != 'web2'
        """,
    "callbacks/faulty.py": """
        DOCUMENTATION = '''
        name: faulty
        type: stdout
        short_description: A display with a bug in it
        description: A display with a bug in it.
        extends_documentation_fragment: [default_callback, result_format_callback]
        options:
          live: {description: x, type: str, default: auto}
        '''
        from ansible_collections.linda.ops.plugins.callback.progress import CallbackModule as Progress

        class CallbackModule(Progress):
            CALLBACK_NAME = "faulty"

            def _ok(self, result):
                raise KeyError("a bug")
        """,
}


@dataclass(frozen=True)
class Run:
    """What one run of ansible-playbook left: the bytes as text, and the exit code."""

    text: str
    code: int

    @property
    def rows(self) -> list[str]:
        return screen(self.text)


def screen(text: str) -> list[str]:
    """The rows that a terminal shows in the end; knows just the sequences that the display uses."""
    rows, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|\x1b[()][A-Z0-9]|.|\n", text, re.DOTALL):
        if piece == "\n":
            row, column = row + 1, 0  # a terminal in its usual mode adds the return
            rows += [""] * (row + 1 - len(rows))
        elif piece == "\r":
            column = 0
        elif piece.startswith("\x1b"):
            if piece.endswith("K"):
                rows[row] = ""
            elif piece.endswith("A"):
                row -= int(piece[2:-1])
                column = min(column, len(rows[row]))
            else:
                assert piece.endswith("m"), f"unexpected sequence {piece!r}"
        else:
            rows[row] = rows[row][:column].ljust(column) + piece + rows[row][column + 1 :]
            column += 1
    return [row.rstrip() for row in rows]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small project of roles that do everything a display has to cope with."""
    directory = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip().replace("SECRET", SECRET))
    (directory / "ansible.cfg").write_text(
        f"[defaults]\ncollections_path = {ROOT}/.collections\nstdout_callback = linda.ops.progress\nforks = 4\n"
    )
    return directory


def environment(project: Path, **more: str) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "NO_COLOR", "LINDA_"))}
    return {**keep, "ANSIBLE_CONFIG": str(project / "ansible.cfg"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable, "TERM": "xterm", **more}


def piped(project: Path, *arguments: str, **more: str) -> Run:
    done = subprocess.run(
        [PLAYBOOK, "-i", "inventory", *arguments],
        cwd=project,
        env=environment(project, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return Run(done.stdout, done.returncode)


def on_terminal(project: Path, *arguments: str, interrupt_at: bytes | None = None, **more: str) -> Run:
    """Run in a pseudo terminal of 100 columns; press Ctrl-C when the text `interrupt_at` has been shown."""
    main, side = pty.openpty()
    ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = ["setsid", "--ctty", PLAYBOOK, "-i", "inventory", *arguments]
    with subprocess.Popen(command, cwd=project, env=environment(project, **more), stdin=side, stdout=side, stderr=side) as process:
        os.close(side)
        output = b""
        try:
            while select.select([main], [], [], 60)[0]:
                output += os.read(main, 65536)
                if interrupt_at is not None and interrupt_at in output:
                    interrupt_at = None
                    os.write(main, b"\x03")
        except OSError:  # the other side is gone: the end
            pass
        finally:
            os.close(main)
        code = process.wait(60)
    assert interrupt_at is None, "the text to interrupt at was never shown"
    return Run(output.decode().replace("\r\n", "\n"), code)


@pytest.fixture(scope="module")
def pipe(project: Path) -> Run:
    return piped(project, "site.yml")


@pytest.fixture(scope="module")
def terminal(project: Path) -> Run:
    (project / "written").unlink(missing_ok=True)
    return on_terminal(project, "site.yml", "-e", "nap=2.5")


def test_a_pipe_gets_plain_lines_and_no_control_characters(pipe: Run) -> None:
    assert pipe.code == 0, pipe.text
    assert not set(pipe.text) & {"\x1b", "\r"}


def test_stages_begin_and_end_with_their_time(pipe: Run) -> None:
    assert re.search(r"^begin +shop on web \(2 hosts\), 0:0\d into the run$", pipe.text, re.MULTILINE)
    assert re.search(r"^done +shop on web: 2 hosts, \d+ changed, [\d.]+ s$", pipe.text, re.MULTILINE)
    assert re.search(r"^done +shop \(handlers\) on web: 1 host, 1 changed, ", pipe.text, re.MULTILINE)
    assert re.search(r"^done +till on web: 2 hosts, 2 changed, ", pipe.text, re.MULTILINE)
    assert "note          no host matches nobody" in pipe.rows


def test_changes_are_shown_and_what_is_fine_is_not(pipe: Run) -> None:
    assert "changed       shop: install | Take a while: web1" in pipe.rows
    assert "Nothing happens" not in pipe.text
    assert "stock: install" not in pipe.text


def test_debug_output_keeps_its_lines(pipe: Run) -> None:
    at = next(number for number, row in enumerate(pipe.rows) if row.startswith("output ") and "install | Say something" in row)
    assert [row.strip() for row in pipe.rows[at + 1 : at + 3]] == ["first line", "second line"]


def test_rescued_and_ignored_failures_are_marked(pipe: Run) -> None:
    assert re.search(r"^failed +web[12]: shop: try \| Fail and be rescued \(a rescue follows\)$", pipe.text, re.MULTILINE)
    assert re.search(r"^ignored +web[12]: shop: secret \| Fail in the dark$", pipe.text, re.MULTILINE)


def test_no_log_is_respected(pipe: Run, terminal: Run) -> None:
    assert SECRET not in pipe.text + terminal.text
    assert "(the reason is hidden by no_log; shop_secure_logging: false shows it, secrets included)" in pipe.text


def test_the_recap_has_hosts_roles_statistics_and_total(pipe: Run) -> None:
    assert re.search(r"^ +host +ok +changed +rescued +ignored$", pipe.text, re.MULTILINE)
    assert re.search(r"^changed +web1 +\d+ +\d+ +1 +2$", pipe.text, re.MULTILINE)
    assert "releases: 1" in pipe.text
    assert re.search(r"^note +slowest roles:\n +\w+ +[\d.]+ s$", pipe.text, re.MULTILINE)
    assert re.search(r"^done +2 hosts, \d+ changes, \d+(\.\d)? s$", pipe.rows[-1]) or any(
        row.startswith("done          2 hosts, ") for row in pipe.rows
    )
    assert "What to do next" not in pipe.text


def test_a_terminal_has_a_live_row_that_counts(terminal: Run) -> None:
    assert terminal.code == 0, terminal.text
    rows = set(re.findall(r"0:0(\d)  shop on web  ./2 hosts  install \| Take a while", terminal.text))
    assert len(rows) >= 2, "the elapsed time did not move"


def test_a_terminal_keeps_nothing_of_the_live_rows(terminal: Run) -> None:
    left = [row for row in terminal.rows if re.search(r"^ *\d:\d\d  ", row)]
    assert left == []
    assert "begin" not in {row.split(" ")[0] for row in terminal.rows}
    assert "changed       shop: install | Take a while: web1" in terminal.rows
    assert any(row.startswith("done          shop on web: 2 hosts") for row in terminal.rows)


def test_colour_follows_no_color(project: Path, terminal: Run) -> None:
    assert "\x1b[0;33mchanged" in terminal.text
    assert "\x1b[2K" in terminal.text
    plain = on_terminal(project, "small.yml", "--check", NO_COLOR="please")
    assert plain.code == 0
    assert not re.search(r"\x1b\[[0-9;]*m", plain.text)
    assert "\x1b[2K" in plain.text


def test_check_mode_says_would_change_and_diff_shows_lines(project: Path) -> None:
    run = piped(project, "small.yml", "--check", "--diff")
    assert run.code == 0, run.text
    assert "+new" in run.text
    assert any(row.startswith("would change  disk: configure | Write a file: web1") for row in run.rows)
    assert any(row.endswith("would be made (check mode), " + row.rpartition(", ")[2]) for row in run.rows if row.startswith("done"))
    assert not (project / "small").exists()


def test_a_failure_ends_with_what_to_do(project: Path) -> None:
    run = piped(project, "bad.yml")
    assert run.code != 0
    at = next(number for number, row in enumerate(run.rows) if row.startswith("failed        web1: broken: check | Fail with words"))
    assert [row[14:] for row in run.rows[at + 1 : at + 5]] == [
        "exit code 7 of: sh -c 'echo line one >&2; echo \"  line two\" >&2; exit 7'",
        "stderr:",
        "  line one",
        "    line two",
    ]
    assert re.search(r"^unreachable +gone1: broken: check \| Fail with words\n +Failed to connect", run.text, re.MULTILINE)
    assert '- web1 failed at "broken: check | Fail with words" (roles/broken/tasks/main.yml:2)' in run.text
    assert '- gone1 was unreachable at "broken: check | Fail with words"' in run.text
    assert run.text.rstrip().endswith("then run the same command with: --limit gone1,web1")


def test_verbose_is_ansible_s_own_display(project: Path) -> None:
    run = on_terminal(project, "bad.yml", "-v", NO_COLOR="1")
    assert "TASK [broken : check | Fail with words]" in run.text
    assert "PLAY RECAP" in run.text
    assert "--limit gone1,web1" in run.text
    assert "\x1b[2K" not in run.text


def test_a_bug_in_the_display_does_not_stop_the_play(project: Path) -> None:
    run = piped(project, "small.yml", ANSIBLE_CALLBACK_PLUGINS=str(project / "callbacks"), ANSIBLE_STDOUT_CALLBACK="faulty")
    assert run.code == 0, run.text
    assert run.text.count("the progress display failed (KeyError: 'a bug')") == 1
    assert "TASK [till : install | Change]" in run.text
    assert "PLAY RECAP" in run.text


def test_several_playbooks_in_one_command_have_a_display_each(project: Path) -> None:
    run = on_terminal(project, "slow.yml", "slow.yml")
    assert run.code == 0, run.text
    first, _recap, second = run.text.partition("slowest roles")
    for part in (first, second):
        assert re.search(r"0:01  nap on web1  0/1 hosts", part)
    assert [row for row in run.rows if re.search(r"^ *\d:\d\d  ", row)] == []


def test_an_interrupted_run_leaves_the_terminal_clean(project: Path) -> None:
    # Not at the very beginning: an interrupt in the moment of a fork is swallowed by Python's hooks around it.
    run = on_terminal(project, "site.yml", "-e", "nap=30", interrupt_at=b"0:03  shop")
    assert run.code != 0
    assert [row for row in run.rows if "Take a while" in row] == []
