namespace HybridArchitectures.Cli.Inputs;

/// <summary>Represents an option that knows the names of the settings of the library that it sets.</summary>
interface IFlag
{
    /// <summary>Gets the name as a user types it, such as <c>--learning-rate</c>.</summary>
    string Name { get; }

    /// <summary>Gets the names of properties and parameters that messages of the library contain, such as <c>LearningRate</c>.</summary>
    IReadOnlyList<string> Settings { get; }
}
