"""What a role tells people: its log and the journal of its VM. Standard library only."""
