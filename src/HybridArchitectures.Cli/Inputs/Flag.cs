using System.CommandLine;

namespace HybridArchitectures.Cli.Inputs;

/// <summary>Represents an option whose name replaces the names of the settings that it sets in messages.</summary>
/// <param name="name">The name as a user types it.</param>
/// <param name="settings">The names of the properties and parameters of the library that the option sets.</param>
sealed class Flag<T>(string name, params string[] settings) : Option<T>(name), IFlag
{
    public IReadOnlyList<string> Settings => settings;
}
