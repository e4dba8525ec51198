using System.Reflection;
using System.Text.Json.Serialization.Metadata;

namespace HybridArchitectures.Design;

/// <summary>
/// Modifies source-generated JSON contracts. By default, they set init-only properties that a document omits to the default value of the type. With
/// this modifier, an object is created by its constructor, and only properties in the document are set.
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
