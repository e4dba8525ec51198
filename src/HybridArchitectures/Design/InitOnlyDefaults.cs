using System.Reflection;
using System.Text.Json.Serialization.Metadata;

namespace HybridArchitectures.Design;

/// <summary>
/// Source-generated JSON gives init-only properties that a document leaves out the default value of their type, not the one that the class gives
/// them. With this
/// modifier such classes are made by their constructor first, and then only the properties in the document are set.
/// </summary>
static class InitOnlyDefaults
{
    /// <summary>Changes the contract of a class that has a constructor without parameters.</summary>
    public static void Keep(JsonTypeInfo info)
    {
        if (info.Kind != JsonTypeInfoKind.Object || info.Type.IsAbstract || info.Type.GetConstructor(Type.EmptyTypes) is null) return;
        info.CreateObject = () => Activator.CreateInstance(info.Type)!;
        foreach (var property in info.Properties)
            if (property.AttributeProvider is PropertyInfo { SetMethod: not null } member) property.Set = member.SetValue;
    }
}
